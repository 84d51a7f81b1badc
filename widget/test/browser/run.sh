#!/usr/bin/env bash
# The widget, or the dashboard, in a real browser, against the real executable. About a minute.
#
#   FRONTDESK_BIN=target/debug/frontdesk widget/test/browser/run.sh [STORIES]
#
# STORIES        a file of stories; default: the widget's, stories.test.js. On pages of shops: embed.test.js
# FRONTDESK_BIN  the built executable (needed). The pages' files are inside it: build it after changing them.
# CHROMIUM       the browser; default: the first of chromium, chromium-browser, google-chrome on the PATH
# SCREENSHOTS    a folder for screenshots; default: a fresh one below the temporary folder, told at the end
# ONLY           run only the stories whose name matches this pattern
#
# Playwright and axe come from npm once, as package-lock.json pins them, into a cache folder and never into the repository.
# Nothing is skipped: what is missing is a failure that says so.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  printf 'widget/test/browser/run.sh: %s\n' "$*" >&2
  exit 1
}

[[ -n ${FRONTDESK_BIN:-} ]] || fail 'FRONTDESK_BIN must name the built executable, such as target/debug/frontdesk'
[[ -x $FRONTDESK_BIN && -f $FRONTDESK_BIN ]] || fail "FRONTDESK_BIN=$FRONTDESK_BIN is not an executable: run cargo build first"
FRONTDESK_BIN=$(realpath "$FRONTDESK_BIN")

if [[ -z ${CHROMIUM:-} ]]; then
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if CHROMIUM=$(command -v "$name"); then break; fi
  done
fi
[[ -n ${CHROMIUM:-} && -x $CHROMIUM ]] || fail 'no Chromium found: install it (apt-get install chromium), or name it by CHROMIUM'

. "$HERE/modules.sh"

SCREENSHOTS=${SCREENSHOTS:-$(mktemp -d "${TMPDIR:-/tmp}/frontdesk-screenshots.XXXXXX")}
mkdir -p "$SCREENSHOTS"
SCREENSHOTS=$(realpath "$SCREENSHOTS")
export FRONTDESK_BIN CHROMIUM SCREENSHOTS MODULES

status=0
node --test --test-reporter=spec ${ONLY:+--test-name-pattern="$ONLY"} "${1:-$HERE/stories.test.js}" || status=$?
printf 'screenshots: %s\n' "$SCREENSHOTS"
exit "$status"
