#!/usr/bin/env bash
# The widget, or the dashboard, in a real browser, against the real executable. About a minute.
#
#   FRONTDESK_BIN=target/debug/frontdesk widget/test/browser/run.sh [STORIES]
#
# STORIES        a file of stories; default: the widget's, stories.test.js
# FRONTDESK_BIN  the built executable (needed). The pages' files are inside it: build it after changing them.
# CHROMIUM       the browser; default: the first of chromium, chromium-browser, google-chrome on the PATH
# SCREENSHOTS    a folder for screenshots; default: a fresh one below the temporary folder, told at the end
# ONLY           run only the stories whose name matches this pattern
#
# Playwright and axe come from npm once, as package-lock.json pins it, into a cache folder and never into the repository.
# Nothing is skipped: what is missing is a failure that says so.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-${HOME:?}/.cache}/frontdesk-browser

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
command -v node >/dev/null || fail 'node 20 or newer is needed'
(($(node --print 'process.versions.node.split(".")[0]') >= 20)) || fail "node 20 or newer is needed, this is $(node --version)"

# One folder for each lock file. It appears whole or not at all, also when two runs start together.
MODULES=$CACHE/$(sha256sum "$HERE/package-lock.json" | cut -c1-16)
if [[ ! -d $MODULES ]]; then
  command -v npm >/dev/null || fail 'npm is needed to install playwright-core and axe-core'
  mkdir -p "$CACHE"
  fresh=$(mktemp -d "$CACHE/install.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  cp "$HERE/package.json" "$HERE/package-lock.json" "$fresh/"
  npm ci --prefix "$fresh" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || fail 'npm could not install playwright-core and axe-core'
  mv -T "$fresh" "$MODULES" 2>/dev/null || [[ -d $MODULES ]] || fail "can't write to $MODULES"
  rm -rf "$fresh"
  trap - EXIT
fi

SCREENSHOTS=${SCREENSHOTS:-$(mktemp -d "${TMPDIR:-/tmp}/frontdesk-screenshots.XXXXXX")}
mkdir -p "$SCREENSHOTS"
SCREENSHOTS=$(realpath "$SCREENSHOTS")
export FRONTDESK_BIN CHROMIUM SCREENSHOTS MODULES

status=0
node --test --test-reporter=spec ${ONLY:+--test-name-pattern="$ONLY"} "${1:-$HERE/stories.test.js}" || status=$?
printf 'screenshots: %s\n' "$SCREENSHOTS"
exit "$status"
