#!/usr/bin/env bash
# The chat in a real Chromium whose processor is slowed down four times: how fast it opens, and whether it stays smooth.
# `bench/widget.sh`, with the names of what to measure (empty, open, pointed, history, paragraphs, list, paragraph, code,
# table; default: all). Three minutes.
#
# FRONTDESK_BIN  the built executable; default: it is built, with optimisation
# CHROMIUM       the browser; default: the first of chromium, chromium-browser, google-chrome on the PATH
# ROUNDS         of empty, open, pointed and history; default 7
# SLOWDOWN       how many times slower the processor is; default 4
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'bench/widget.sh: %s\n' "$*" >&2
  exit 1
}

if [[ -z ${FRONTDESK_BIN:-} ]]; then
  target=${CARGO_TARGET_DIR:-$root/target}
  cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p frontdesk --target-dir "$target"
  FRONTDESK_BIN=$target/release/frontdesk
fi
[[ -x $FRONTDESK_BIN && -f $FRONTDESK_BIN ]] || fail "FRONTDESK_BIN=$FRONTDESK_BIN is not an executable"
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  [[ -n ${CHROMIUM:-} ]] || CHROMIUM=$(command -v "$name" || true)
done
[[ -x ${CHROMIUM:-} ]] || fail 'no Chromium found: install it (apt-get install chromium), or name it by CHROMIUM'
. "$root/widget/test/browser/modules.sh"
export FRONTDESK_BIN CHROMIUM MODULES
exec node "$root/bench/widget.js" "$@"
