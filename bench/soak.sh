#!/usr/bin/env bash
# Keeps a deployment busy for long and looks whether any process grows. See `bench/soak.sh --help`.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" soak "$@"
