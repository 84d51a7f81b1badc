#!/usr/bin/env bash
# Checks alerts and dashboards against running processes. See `test-observability.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian puts nats-server there.
PATH=$PATH:/usr/sbin:/sbin

usage() {
  cat <<'HELP'
usage: scripts/test-observability.sh

Checks what observability/ ships. The configuration of Prometheus and the alerts, by promtool; a story of each alert in
which it fires and one in which it does not; and every query of every alert and panel against a real Prometheus, which
watches two edges, two workers, analytics and a nats-server while visitors talk: each metric and label must be there, and
each panel show something. About 45 seconds. All of it is on free ports of the loopback, and ended at the end.

FRONTDESK_BIN    the executable to watch; without it one is built, where `cargo build` does
FRONTDESK_TOOLS  where prometheus and promtool are unpacked, once; default: $HOME/.cache/frontdesk-tools
JAEGER           a Jaeger v2, to read observability/jaeger/config.yaml; without it the file is only compared with others
NATS_EXPORTER    a prometheus-nats-exporter; without it what it said once is shown (tests/observability/nats-exporter.prom)

Needs python3 with PyYAML and nats-server. prometheus and promtool are those of the PATH, else Debian's package, which is
unpacked and not installed: its service would start.
HELP
}

case ${1:-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) echo "test-observability.sh: unknown argument: $1 (see --help)" >&2; exit 2 ;;
esac

TOOLS=${FRONTDESK_TOOLS:-$HOME/.cache/frontdesk-tools}/prometheus

# Debian's package, unpacked. It needs nothing but the C library.
fetch_prometheus() {
  local folder
  command -v apt-get >/dev/null || { echo "test-observability.sh: prometheus and promtool are needed" >&2; exit 2; }
  folder=$(mktemp -d)
  chmod 755 "$folder"
  echo "test-observability.sh: unpacking Debian's prometheus into $TOOLS"
  if ! (cd "$folder" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } &&
    dpkg -x prometheus_*.deb unpacked) >"$folder/log" 2>&1 </dev/null; then
    tail -n 5 "$folder/log" >&2
    rm -rf "$folder"
    exit 1
  fi
  mkdir -p "$TOOLS"
  mv "$folder/unpacked/usr/bin/prometheus" "$folder/unpacked/usr/bin/promtool" "$TOOLS/"
  rm -rf "$folder"
}

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  PROMETHEUS=$(command -v prometheus) PROMTOOL=$(command -v promtool)
else
  [ -x "$TOOLS/promtool" ] || fetch_prometheus
  PROMETHEUS=$TOOLS/prometheus PROMTOOL=$TOOLS/promtool
fi

# The first python3 may be one that Debian's packages are not for.
PYTHON=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import yaml' 2>/dev/null; then PYTHON=$candidate; break; fi
done
[ -n "$PYTHON" ] || { echo "test-observability.sh: PyYAML is needed (Debian: python3-yaml)" >&2; exit 2; }
command -v nats-server >/dev/null || { echo "test-observability.sh: nats-server is needed" >&2; exit 2; }

. scripts/executable.sh

"$PROMTOOL" check config observability/prometheus/prometheus.yml
"$PROMTOOL" test rules observability/prometheus/tests/*.yml
if [ -n "${JAEGER:-}" ]; then "$JAEGER" validate --config observability/jaeger/config.yaml; fi
export FRONTDESK_BIN PROMETHEUS
# The suite is this process: signals reach it, and it ends what it started.
exec "$PYTHON" -B tests/observability
