#!/usr/bin/env bash
# Images for scripts/test-compose.sh where those of compose.yaml can't be pulled: Debian's programs, and where there is Go a
# NATS of the pinned version and a Jaeger, under the pinned names and in the shape of the real ones. They prove how
# compose.yaml joins the parts, not the pinned versions, but for NATS.
#
#   images.sh fetch    what they are made of, into the cache: everything that needs a network
#   images.sh build    the images, with the engine of DOCKER_HOST; prints a line for each
set -euo pipefail
SELF=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CACHE=${FRONTDESK_COMPOSE_CACHE:-$HOME/.cache/frontdesk-compose}
PACKAGES=(busybox-static ca-certificates libc6 libgcc-s1 libzstd1 nats-server caddy prometheus)
# The newest that the Go module proxy has: Jaeger v2's own command, of the release 2.13.
JAEGER=1.76.0
# What a cluster does when a server dies differs between versions.
NATS=$(sed -n 's/^ *image: nats:\([0-9.]*\).*/\1/p' compose.yaml)

# pinned NAME: the image of compose.yaml whose repository ends so, such as caddy:2.11.4-alpine.
pinned() { sed -n "s|^ *image: \($1:.*\)$|\1|p" compose.yaml | head -n 1; }

fetch_packages() {
  if [ -f "$CACHE/root/.done" ]; then return; fi
  rm -rf "$CACHE/debs" "$CACHE/root"
  mkdir -p "$CACHE/debs" "$CACHE/root"
  (cd "$CACHE/debs" && apt-get download -qq "${PACKAGES[@]}" 2>&1 | grep -v 'unsandboxed' || true)
  for name in "${PACKAGES[@]}"; do
    # Unpacked, not installed: no service of them is started on this machine.
    dpkg -x "$(echo "$CACHE/debs/${name}"_*.deb)" "$CACHE/root"
  done
  touch "$CACHE/root/.done"
}

# go_build TO MODULE@VERSION PACKAGE GIGABYTES: an executable, with so much room to build it in; nothing but its log where
# that can't be.
#
# Its own module, because a module that replaces others can't be installed by name.
go_build() {
  local to=$1 module=$2 package=$3 gigabytes=$4 go work log
  if [ -x "$to" ]; then return; fi
  log=$to.log
  go=$(command -v go || echo /usr/local/go/bin/go)
  if ! [ -x "$go" ]; then
    echo "there is no Go to build it with" >"$log"
    return
  fi
  if ! python3 -c 'import shutil, sys; sys.exit(shutil.disk_usage(sys.argv[1]).free < int(sys.argv[2]) * 1e9)' "$CACHE" "$gigabytes"; then
    echo "less than $gigabytes GB are free in $CACHE, to build it in" >"$log"
    return
  fi
  work=$(mktemp -d "$CACHE/go-build.XXXXXX")
  if (
    cd "$work"
    # Gigabytes that nobody needs a second time.
    export GOCACHE=$work/cache GOMODCACHE=$work/modules
    export CGO_ENABLED=0 GOFLAGS='-buildvcs=false -mod=mod -modcacherw'
    "$go" mod init stand-in
    "$go" mod edit -require "$module"
    # In the foreground: a group of its own would outlive whoever stops this one.
    nice -n 15 timeout --foreground 1800 "$go" build -trimpath -ldflags '-s -w' -o executable "$package"
  ) >"$log" 2>&1 </dev/null; then
    mv "$work/executable" "$to"
  fi
  rm -rf "$work"
}

# A folder with the C library, busybox under all its names, and the roots of trust.
base() {
  local root=$CACHE/root to=$1
  mkdir -p "$to/bin" "$to/usr/bin" "$to/etc" "$to/tmp" "$to/lib64"
  chmod 1777 "$to/tmp"
  cp "$root/bin/busybox" "$to/bin/busybox"
  "$to/bin/busybox" --list | grep -vx busybox | while read -r name; do ln -s busybox "$to/bin/$name"; done
  cp -RL "$root/lib/x86_64-linux-gnu" "$to/lib" 2>/dev/null || cp -RL "$root/usr/lib/x86_64-linux-gnu" "$to/lib"
  cp -RL "$root/usr/lib/x86_64-linux-gnu/." "$to/lib/" 2>/dev/null || true
  cp -L "$to/lib/ld-linux-x86-64.so.2" "$to/lib64/"
  printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$to/etc/passwd"
}

# image NAME WHAT FOLDER CHANGE...: the folder as an image; a change is a line of a Dockerfile.
image() {
  local name=$1 what=$2 root=$WORK/$3/root changes=() change
  shift 3
  for change in "LABEL frontdesk.standin=\"$what\" frontdesk.made=$MADE" 'ENV PATH=/bin:/usr/bin LD_LIBRARY_PATH=/lib' "$@"; do
    changes+=(--change "$change")
  done
  # With what the kernel knows about files: a build would lose it.
  tar --xattrs --xattrs-include='security.capability' -C "$root" -c . | docker import "${changes[@]}" - "$name" >/dev/null
  printf 'stand-in  %-45s %s\n' "$name" "$what"
}

# label NAME LABEL: of an image that is there, also one that has no labels at all.
label() {
  docker image inspect --format '{{json .Config.Labels}}' "$1" |
    python3 -c 'import json, sys; print((json.load(sys.stdin) or {}).get(sys.argv[1], ""))' "$2"
}

# Whether there is nothing to make: somebody pulled the image, or it is ours and of the same stuff.
is_there() {
  local what
  docker image inspect "$1" >/dev/null 2>&1 || return 1
  what=$(label "$1" frontdesk.standin)
  if [ -z "$what" ]; then return 0; fi
  [ "$(label "$1" frontdesk.made)" = "$MADE" ] || return 1
  printf 'stand-in  %-45s %s\n' "$1" "$what"
}

build() {
  local name version
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  MADE=$(cat "$SELF" tests/compose/grafana.sh <(ls "$CACHE" "$CACHE/debs") | sha256sum | cut -c 1-16)
  version() { dpkg-deb -f "$(echo "$CACHE/debs/$1"_*.deb)" Version; }

  name=$(pinned caddy)
  if ! is_there "$name"; then
    base "$WORK/caddy/root"
    cp "$CACHE/root/usr/bin/caddy" "$WORK/caddy/root/usr/bin/"
    # As in the real one: without the right in its container the kernel won't start it.
    setcap cap_net_bind_service=+ep "$WORK/caddy/root/usr/bin/caddy"
    image "$name" "Debian's caddy $(version caddy)" caddy 'ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data' \
      'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]'
  fi

  name=$(pinned nats)
  if ! is_there "$name"; then
    base "$WORK/nats/root"
    if [ -x "$CACHE/nats-server-$NATS" ]; then
      cp "$CACHE/nats-server-$NATS" "$WORK/nats/root/usr/bin/nats-server"
      image "$name" "nats-server $NATS, built with Go" nats 'CMD ["nats-server"]'
    else
      cp "$CACHE/root/usr/sbin/nats-server" "$WORK/nats/root/usr/bin/"
      image "$name" "Debian's nats-server $(version nats-server)" nats 'CMD ["nats-server"]'
    fi
  fi

  name=$(pinned prom/prometheus)
  if ! is_there "$name"; then
    base "$WORK/prometheus/root"
    cp "$CACHE/root/usr/bin/prometheus" "$WORK/prometheus/root/bin/"
    mkdir "$WORK/prometheus/root/prometheus"
    chown 65534:65534 "$WORK/prometheus/root/prometheus"
    image "$name" "Debian's prometheus $(version prometheus)" prometheus 'WORKDIR /prometheus' \
      'USER nobody' 'ENTRYPOINT ["/bin/prometheus"]'
  fi

  name=$(pinned jaegertracing/jaeger)
  if ! is_there "$name"; then
    base "$WORK/jaeger/root"
    if [ -x "$CACHE/jaeger-$JAEGER" ]; then
      cp "$CACHE/jaeger-$JAEGER" "$WORK/jaeger/root/jaeger"
      image "$name" "Jaeger $JAEGER, the command of v2, built with Go" jaeger 'ENV JAEGER_LISTEN_HOST=0.0.0.0' 'USER 10001' \
        'ENTRYPOINT ["/jaeger"]'
    else
      echo "Jaeger is not here" >"$WORK/jaeger/root/index.html"
      image "$name" "an empty page: $(cat "$CACHE/no-jaeger")" jaeger 'USER 10001' \
        'ENTRYPOINT ["/bin/sh", "-c", "exec httpd -f -p 16686 -h /"]'
    fi
  fi

  name=$(pinned natsio/prometheus-nats-exporter)
  if ! is_there "$name"; then
    base "$WORK/exporter/root"
    mkdir "$WORK/exporter/root/www"
    echo 'standin_up 1' >"$WORK/exporter/root/www/metrics"
    image "$name" "a page with one metric" exporter 'ENTRYPOINT ["/bin/sh", "-c", "exec httpd -f -p 7777 -h /www"]'
  fi

  name=$(pinned grafana/grafana)
  if ! is_there "$name"; then
    base "$WORK/grafana/root"
    mkdir -p "$WORK/grafana/root/www/api" "$WORK/grafana/root/var/lib/grafana"
    echo '{"database":"ok"}' >"$WORK/grafana/root/www/api/health"
    chown 472:0 "$WORK/grafana/root/var/lib/grafana"
    cp tests/compose/grafana.sh "$WORK/grafana/root/start.sh"
    image "$name" "a page, if all its files can be read" grafana 'USER 472' 'ENTRYPOINT ["/bin/sh", "/start.sh"]'
  fi
}

mkdir -p "$CACHE"
case ${1:-} in
  fetch)
    # One at a time. Whoever was interrupted left gigabytes.
    exec 9>"$CACHE/.lock"
    flock 9
    rm -rf "$CACHE"/go-build.*
    fetch_packages
    go_build "$CACHE/nats-server-$NATS" "github.com/nats-io/nats-server/v2@v$NATS" github.com/nats-io/nats-server/v2 2
    go_build "$CACHE/jaeger-$JAEGER" "github.com/jaegertracing/jaeger@v$JAEGER" github.com/jaegertracing/jaeger/cmd/jaeger 7
    # Why there is none.
    if [ -x "$CACHE/jaeger-$JAEGER" ]; then rm -f "$CACHE/no-jaeger"; else tail -n 1 "$CACHE/jaeger-$JAEGER.log" >"$CACHE/no-jaeger"; fi
    ;;
  build) build ;;
  *) echo "images.sh: fetch or build?" >&2; exit 2 ;;
esac
