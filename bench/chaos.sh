#!/usr/bin/env bash
# Strikes down processes under load and reads the books. See `bench/chaos.sh --help`.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" chaos "$@"
