#!/usr/bin/env bash
# The dashboard in a real browser, against the real executable with made-up visitors. About a minute.
#
#   FRONTDESK_BIN=target/debug/frontdesk dashboard/test/browser/run.sh
#
# The settings, the browser and its driver are those of widget/test/browser/run.sh.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$HERE/../../../widget/test/browser/run.sh" "$HERE/stories.test.js"
