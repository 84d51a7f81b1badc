#!/usr/bin/env bash
# Restarts one process after the other. See `rolling-restart.sh --help` and docs/deploy.md.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: scripts/rolling-restart.sh [--wait SECONDS] COMMAND URL [COMMAND URL...]

For each pair: runs COMMAND, which must stop one process with SIGTERM, wait for its end, and start the new one; then
waits until URL/health/ready answers 200, and goes on to the next. Stops at the first that fails or does not get
ready, so that the rest of the deployment stays as it was. Edges first, then workers, then analytics.

  --wait SECONDS   how long each may take to get ready; default 60

  scripts/rolling-restart.sh \
    'systemctl restart frontdesk-edge@1'   http://127.0.0.1:8000 \
    'systemctl restart frontdesk-edge@2'   http://127.0.0.1:8010 \
    'systemctl restart frontdesk-worker@1' http://127.0.0.1:8001 \
    'systemctl restart frontdesk-worker@2' http://127.0.0.1:8011

Exit code 0: all are ready; 1: one failed; 2: wrong usage, or no curl, and nothing was touched.
HELP
}

WAIT=60
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  --wait) WAIT=${2:?--wait needs seconds}; shift 2 ;;
esac
if [ $# -eq 0 ] || [ $(($# % 2)) -ne 0 ]; then
  usage >&2
  exit 2
fi

# Before anything is stopped: without it nobody would be seen to get ready again.
if ! command -v curl >/dev/null; then
  echo "rolling-restart.sh: curl is not installed; nothing was restarted" >&2
  exit 2
fi

while [ $# -gt 0 ]; do
  command=$1 url=${2%/}
  shift 2
  echo "$command"
  bash -c "$command" || { echo "rolling-restart.sh: it failed; the rest is left as it is" >&2; exit 1; }
  until=$((SECONDS + WAIT))
  # An edge's certificate is for the name that visitors use, and this may ask by address: nothing secret is said.
  until curl -fsSk --max-time 2 -o /dev/null "$url/health/ready" 2>/dev/null; do
    if [ "$SECONDS" -ge "$until" ]; then
      echo "rolling-restart.sh: $url is not ready after $WAIT s; the rest is left as it is" >&2
      exit 1
    fi
    sleep 0.2
  done
  echo "  ready: $url"
done
