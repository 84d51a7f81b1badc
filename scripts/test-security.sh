#!/usr/bin/env bash
# Attacks Frontdesk and says what held. See `test-security.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian puts nats-server there.
PATH=$PATH:/usr/sbin:/sbin

usage() {
  cat <<'HELP'
usage: scripts/test-security.sh [--base URL [--edge2 URL]] [--quick] [--report FILE] [--only WORD]

Attacks a Frontdesk as the internet would: forged and replayed tokens, foreign origins, smuggled and oversized
requests, spoofed addresses, floods, slow clients, a hostile n8n, text where it does not belong. Tells each case with
its figure; the last line is `N passed, N failed, N skipped`, and the exit code is 0 only if nothing failed.

Without --base it starts what it attacks, on free ports of the loopback: a nats-server, two edges, a worker and
analytics, and an n8n that means harm. It ends what it started, and nothing else, also on Ctrl-C. What it sends goes
to the loopback. At most 5 minutes, and before the first run up to 3 more for the installation of schemathesis.

  --base URL     attacks that address instead: yours, or one whose owner asked you to. What can't be done from outside
                 is skipped and said. Sends a few hundred requests and waits where it is limited. Give the public
                 address, such as https://chat.shop.example: pages of that origin may call it
  --edge2 URL    a second edge of the same deployment, for replays and for the end of a session
  --quick        at most a minute: leaves out what has to wait (slow clients, the big floods)
  --report FILE  writes a report too: JSON where FILE ends in .json, else Markdown
  --only WORD    only checks with this in their name, or of that file (tests/security/WORD.py)

FRONTDESK_BIN    the executable to attack; without it one is built, where `cargo build` does
FRONTDESK_TOOLS  where schemathesis from PyPI is kept, installed once; default: $HOME/.cache/frontdesk-tools

Needs python3 (3.10 or newer) and, without --base, nats-server. slowhttptest, openssl and PyPI are optional: without
them their checks are skipped, and the report says so. scripts/test.sh installs all that through apt.
HELP
}

ARGUMENTS=()
BASE=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --base | --edge2 | --report | --only)
      if [ $# -lt 2 ]; then echo "test-security.sh: $1 needs a value (see --help)" >&2; exit 2; fi
      if [ "$1" = --base ]; then BASE=$2; fi
      ARGUMENTS+=("$1" "$2")
      shift 2
      ;;
    --quick) ARGUMENTS+=("$1"); shift ;;
    *) echo "test-security.sh: unknown argument: $1 (see --help)" >&2; exit 2 ;;
  esac
done

command -v python3 >/dev/null || { echo "test-security.sh: python3 is needed" >&2; exit 2; }
if [ -z "$BASE" ]; then
  command -v nats-server >/dev/null || { echo "test-security.sh: nats-server is needed (or --base)" >&2; exit 2; }
  . scripts/executable.sh
  export FRONTDESK_BIN
fi

# A thousand slow connections need a thousand files.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
# The suite is this process: signals reach it, and it ends what it started.
exec python3 -B tests/security "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}"
