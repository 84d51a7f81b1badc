#!/usr/bin/env bash
# Runs compose.yaml and says what held. See `test-compose.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin

CACHE=${FRONTDESK_COMPOSE_CACHE:-$HOME/.cache/frontdesk-compose}
CANNOT_RUN=75

usage() {
  cat <<HELP
usage: scripts/test-compose.sh [--only WORD] [--keep]
       scripts/test-compose.sh install

Brings up the real compose.yaml, made ready by the real scripts/setup.sh, with an image of this very source, and checks:
the chat through Caddy, that nothing buffers it, scaling under use, a crash of every container's process, traces,
metrics, alerts, what a restart keeps. Then compose.cluster.yaml: three NATS servers: two crash, one is killed and stays
away. Each of the two ends with "N passed, N failed, N skipped", and the second is not begun if anything failed in the
first; the exit status is 0 only if nothing failed.

install     only fetches what a run needs: docker.io and docker-compose through apt where they are missing, and into
            \${FRONTDESK_COMPOSE_CACHE:-\$HOME/.cache/frontdesk-compose} what stand-in images are made of. Where images
            can't be pulled and there is Go, a NATS and a Jaeger are built, which takes ten minutes and more, once.
--only WORD only checks of compose.yaml with this in their name. "cluster": only compose.cluster.yaml
--keep      leaves the stack and its engine running, and says how to reach and to stop them; without compose.cluster.yaml

Where no Docker engine answers, one is started with its own data (as root), and stopped at the end. It sets the rules of
netfilter that Docker sets. Images that can't be pulled are replaced by stand-ins with the same names: it says which,
and in an engine that was there before takes them away again. Everything listens on free ports of the loopback.

FRONTDESK_STATIC   a static executable to put into the image; without it one is built (dev profile)
exit status        $CANNOT_RUN where no engine can be had: the last line on stderr is "test-compose.sh: cannot run: WHY"
HELP
}

say() { printf 'test-compose.sh: %s\n' "$*"; }
cannot_run() { say "cannot run: $*" >&2; exit "$CANNOT_RUN"; }

INSTALL='' KEEP='' ONLY=''
while [ $# -gt 0 ]; do
  case $1 in
    install) INSTALL=1; shift ;;
    --keep) KEEP=1; shift ;;
    --only) [ $# -ge 2 ] || { say "--only needs a word (see --help)" >&2; exit 2; }; ONLY=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown argument: $1 (see --help)" >&2; exit 2 ;;
  esac
done

# ---- the engine -----------------------------------------------------------------------------------------------------

WORK=      # scratch folder
ENGINE=    # the process id of an engine that was started here
STACK=     # where the stack's files are, once it may have been started

alive() { kill -0 "$1" 2>/dev/null; }

# shellcheck disable=SC2317  # called by the trap
finish() {
  local status=$? _
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$KEEP" ] && [ -n "$STACK" ]; then
    say "kept: cd $STACK && export DOCKER_HOST=${DOCKER_HOST:-} && $COMPOSE ps"
    say "to stop: $COMPOSE down -v${ENGINE:+; kill $ENGINE}; rm -rf $WORK"
    exit "$status"
  fi
  if [ -n "$STACK" ]; then (cd "$STACK" && $COMPOSE down -v --remove-orphans) >/dev/null 2>&1 || true; fi
  if [ -n "$ENGINE" ]; then
    kill -TERM "$ENGINE" 2>/dev/null || true
    for _ in $(seq 300); do alive "$ENGINE" || break; sleep 0.1; done
  elif [ -n "$STACK" ]; then
    docker images -q --filter label=frontdesk.standin | sort -u | xargs -r docker image rm -f >/dev/null 2>&1 || true
  fi
  if [ -n "$WORK" ]; then rm -rf "$WORK"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

has_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

install_engine() {
  local packages=() sudo=()
  [ "$(uname -s)" = Linux ] || cannot_run "only on Linux"
  command -v docker >/dev/null && { docker info >/dev/null 2>&1 || command -v dockerd >/dev/null; } || packages+=(docker.io)
  has_compose 2>/dev/null || packages+=(docker-compose)
  command -v setcap >/dev/null || packages+=(libcap2-bin)
  if [ ${#packages[@]} = 0 ]; then return; fi
  command -v apt-get >/dev/null || cannot_run "missing: ${packages[*]}, and there is no apt-get"
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || cannot_run "missing: ${packages[*]}. As root: apt-get install ${packages[*]}"
    sudo=(sudo -n)
  fi
  say "installing with apt-get: ${packages[*]}"
  # Packages of services start them; this one is started below, with data of its own.
  if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}"; } \
    >"$WORK/apt.log" 2>&1 </dev/null; then
    cannot_run "apt-get could not install ${packages[*]}: $(tail -n 1 "$WORK/apt.log")"
  fi
}

start_engine() {
  local _
  if docker info >/dev/null 2>&1; then
    say "uses the Docker engine that runs: $(docker version --format '{{.Server.Version}}')"
    return
  fi
  [ "$(id -u)" = 0 ] || cannot_run "no Docker engine answers, and only root can start one"
  export DOCKER_HOST=unix://$WORK/docker.sock
  mkdir -p "$CACHE"
  dockerd --data-root "$CACHE/docker" --exec-root "$WORK/exec" --pidfile "$WORK/docker.pid" -H "$DOCKER_HOST" \
    >"$WORK/dockerd.log" 2>&1 </dev/null &
  ENGINE=$!
  for _ in $(seq 300); do
    if docker info >/dev/null 2>&1; then
      say "started a Docker engine: $(docker version --format '{{.Server.Version}}')"
      return
    fi
    alive "$ENGINE" || break
    sleep 0.1
  done
  cannot_run "a Docker engine does not start here: $(grep -E 'level=(error|fatal)|failed' "$WORK/dockerd.log" | tail -n 1 | cut -c 1-300)"
}

# ---- images ---------------------------------------------------------------------------------------------------------

# Those of compose.yaml that aren't built and not n8n's, which no check needs.
pinned() { sed -n 's/^ *image: \([^$].*\)$/\1/p' compose.yaml | grep -v n8n | sort -u; }

# Whether everything could be pulled. Whoever has no way to one registry has none to it a second later.
pull() {
  local image
  for image in $(pinned); do
    if [ -n "$(docker images -q "$image")" ] && [ -z "$(docker images -q --filter label=frontdesk.standin "$image")" ]; then
      continue
    fi
    if ! timeout 300 docker pull -q "$image" >/dev/null 2>"$WORK/pull.log"; then
      say "can't pull $image: $(tail -n 1 "$WORK/pull.log" | cut -c 1-200)"
      return 1
    fi
  done
}

static_executable() {
  local target
  if [ -z "${FRONTDESK_STATIC:-}" ]; then
    target=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked -p frontdesk --target "$target"
    FRONTDESK_STATIC=${CARGO_TARGET_DIR:-target}/$target/debug/frontdesk
  fi
  mkdir -p "$WORK/image/data"
  cp "$FRONTDESK_STATIC" "$WORK/image/frontdesk"
  # What a release has not either: it's half of the file.
  strip "$WORK/image/frontdesk"
  cp "$CACHE/root/etc/ssl/certs/ca-certificates.crt" "$WORK/image/" 2>/dev/null ||
    cp /etc/ssl/certs/ca-certificates.crt "$WORK/image/"
  cargo tree --locked -p frontdesk -e normal --prefix none --format '{p}|{l}' 2>/dev/null |
    python3 deploy/sbom.py >"$WORK/image/sbom.cdx.json"
  cp deploy/Dockerfile.test "$WORK/image/Dockerfile"
  # The classic builder: every engine has it, and nothing here needs another one.
  DOCKER_BUILDKIT=0 docker build -q -t frontdesk:test "$WORK/image" >"$WORK/build.log" 2>&1 ||
    { cat "$WORK/build.log" >&2; return 1; }
  say "real      frontdesk:test: $(docker image inspect --format '{{.Size}}' frontdesk:test | awk '{printf "%.1f MB", $1 / 1e6}') (dev profile), on scratch"
}

# The context of the shipped Dockerfile, of which no base can be pulled everywhere: .dockerignore must leave in all that
# cargo needs.
check_context() {
  local sent=$WORK/context
  printf 'FROM scratch\nCOPY . /\n' >"$WORK/Dockerfile.context"
  DOCKER_BUILDKIT=0 docker build -q -t frontdesk:context -f "$WORK/Dockerfile.context" . >"$WORK/build.log" 2>&1 ||
    { cat "$WORK/build.log" >&2; return 1; }
  mkdir "$sent"
  docker create --name "$COMPOSE_PROJECT_NAME-context" frontdesk:context none >/dev/null
  docker export "$COMPOSE_PROJECT_NAME-context" | tar -x -C "$sent"
  docker rm "$COMPOSE_PROJECT_NAME-context" >/dev/null
  docker image rm frontdesk:context >/dev/null
  # Not `metadata`: it wants the packages of all systems, which a build of this one has not fetched.
  (cd "$sent" && cargo tree --locked --offline -p frontdesk -e normal,build >/dev/null)
  for needed in widget/embed.js dashboard/index.html deploy/sbom.py; do
    [ -f "$sent/$needed" ] || { say ".dockerignore leaves out $needed" >&2; return 1; }
  done
  [ -z "$(find "$sent" -name target -o -name node_modules -o -name secrets -o -name .env)" ] ||
    { say ".dockerignore leaves in what must not be in an image" >&2; return 1; }
  say "the context of the Dockerfile has $(du -sm "$sent" | cut -f 1) MB, and cargo finds all its packages there"
}

# ---- the stack ------------------------------------------------------------------------------------------------------

free_ports() {
  python3 -c '
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])' "$1"
}

# ready FOLDER [OPTION]: a copy of what a user has, made ready as a user does it.
ready() {
  local folder=$1 before
  shift
  mkdir -p "$folder/scripts" "$folder/n8n"
  cp -R compose.yaml compose.cluster.yaml compose.tls.yaml deploy nats observability "$folder/"
  cp -R n8n/workflows "$folder/n8n/"
  cp scripts/setup.sh "$folder/scripts/"
  read -r CHAT_PORT SHOP_PORT ANALYTICS_PORT GRAFANA_PORT PROMETHEUS_PORT JAEGER_PORT <<<"$(free_ports 6)"
  {
    echo "COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME"
    echo "FRONTDESK_IMAGE=frontdesk:test"
    # No line break at the end, as editors leave it.
    printf 'CHAT_PORT=%s\nSHOP_PORT=%s\nANALYTICS_PORT=%s\nGRAFANA_PORT=%s\nPROMETHEUS_PORT=%s\nJAEGER_PORT=%s' \
      "$CHAT_PORT" "$SHOP_PORT" "$ANALYTICS_PORT" "$GRAFANA_PORT" "$PROMETHEUS_PORT" "$JAEGER_PORT"
  } >"$folder/.env"
  export CHAT_PORT SHOP_PORT ANALYTICS_PORT GRAFANA_PORT PROMETHEUS_PORT JAEGER_PORT
  # A port that is taken is told, before anything is written that names it.
  python3 -c '
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    refused = subprocess.run(["scripts/setup.sh", *sys.argv[3:]], cwd=sys.argv[2], capture_output=True, text=True, check=False)
assert refused.returncode == 1 and f"GRAFANA_PORT={sys.argv[1]}" in refused.stderr, refused' "$GRAFANA_PORT" "$folder" "$@"
  [ ! -e "$folder/frontdesk.env" ] || { say "setup.sh went on" >&2; return 1; }
  (cd "$folder" && scripts/setup.sh "$@") >"$WORK/setup.log" 2>&1 || { cat "$WORK/setup.log" >&2; return 1; }
  before=$(cd "$folder" && cat .env frontdesk.env secrets/* | sha256sum)
  (cd "$folder" && scripts/setup.sh "$@") >/dev/null
  [ "$before" = "$(cd "$folder" && cat .env frontdesk.env secrets/* | sha256sum)" ] ||
    { say "setup.sh changed what was there" >&2; return 1; }
  # Every visitor here has one address and one phrase; limits have tests of their own.
  cat >>"$folder/frontdesk.env" <<'SETTINGS'
RATE_LIMIT_PER_MINUTE=0
RATE_LIMIT_CREATE_PER_MINUTE=0
RATE_LIMIT_SESSION_PER_MINUTE=0
RATE_LIMIT_SITE_PER_MINUTE=0
BOT_RULES=off
SETTINGS
  STACK=$folder
}

# up SECONDS: starts it; what failed is shown.
up() {
  local began=$SECONDS
  if ! (cd "$STACK" && timeout "$1" $COMPOSE up -d --no-build) >"$WORK/up.log" 2>&1; then
    cat "$WORK/up.log" >&2
    (cd "$STACK" && $COMPOSE ps && $COMPOSE logs --tail 20) >&2 || true
    return 1
  fi
  say "up after $((SECONDS - began)) s"
}

check() { STACK=$STACK COMPOSE=$COMPOSE TRACES=$TRACES timeout 900 python3 -B tests/compose "$1" ${ONLY:+"$ONLY"}; }

# ---- all of it ------------------------------------------------------------------------------------------------------

WORK=$(mktemp -d)
install_engine
if [ -n "$INSTALL" ]; then
  # Without an engine it can't be known what could be pulled, and one shall not run longer than it must.
  if docker info >/dev/null 2>&1 && pull; then say "all images are there"; else tests/compose/images.sh fetch; fi
  say "ready to run"
  exit 0
fi
command -v python3 >/dev/null || { say "python3 is needed" >&2; exit 2; }
start_engine
if docker compose version >/dev/null 2>&1; then COMPOSE="docker compose"; else COMPOSE=docker-compose; fi
export COMPOSE_PROJECT_NAME=frontdesk-test-$$
say "$COMPOSE $($COMPOSE version --short)"
if pull; then
  for image in $(pinned); do say "real      $image"; done
else
  tests/compose/images.sh fetch
  tests/compose/images.sh build
fi
static_executable
check_context

TRACES=required
if ! "$WORK/image/frontdesk" edge --help | grep -q OTEL_EXPORTER_OTLP_ENDPOINT; then
  TRACES="this executable exports no traces"
elif [ -f "$CACHE/no-jaeger" ] && [ -n "$(docker images -q --filter label=frontdesk.standin "$(pinned | grep jaeger)")" ]; then
  TRACES="no Jaeger: $(cat "$CACHE/no-jaeger")"
fi

single() {
  ready "$WORK/single"
  (cd "$STACK" && for files in "" "-f compose.yaml -f compose.cluster.yaml" "-f compose.yaml -f compose.tls.yaml"; do
    # shellcheck disable=SC2086  # several words
    SITE_ADDRESS=chat.shop.example $COMPOSE $files --profile n8n config -q
  done)
  up 240
  check single
}

cluster() {
  ONLY=
  ready "$WORK/cluster" --cluster
  up 240
  check cluster
}

case $ONLY in
  cluster) cluster ;;
  '')
    single
    # Two stacks are more than is wanted.
    if [ -z "$KEEP" ]; then
      (cd "$STACK" && $COMPOSE down -v) >"$WORK/down.log" 2>&1 || {
        tail -n 20 "$WORK/down.log" >&2
        say 'could not take the first stack down' >&2
        exit 1
      }
      cluster
    fi
    ;;
  *) single ;;
esac
