#!/usr/bin/env bash
# Checks the types that the comments of the scripts tell, by TypeScript. Nothing is built. A few seconds.
#
#   widget/test/types.sh [FOLDER...]     each with a tsconfig.json; default: the widget and the dashboard
#
# embed.js has no types: every page of a shop loads it, and its comments would be a good part of it.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
  printf 'widget/test/types.sh: %s\n' "$*" >&2
  exit 1
}

. "$ROOT/widget/test/browser/modules.sh"

[[ $# -gt 0 ]] || set -- "$ROOT/widget" "$ROOT/dashboard"
for folder in "$@"; do
  "$MODULES/node_modules/.bin/tsc" --project "$folder" || fail "$folder does not keep to its types"
done
