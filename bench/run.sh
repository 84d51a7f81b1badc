#!/usr/bin/env bash
# Builds Frontdesk and the tool, both with optimisation, and runs one of the tool's commands on that executable:
# `bench/run.sh chaos`, `soak` or `streams`, with the arguments that `--help` tells. FRONTDESK_BIN names another one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian puts nats-server there.
PATH=$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$root/target}
command=${1:?a command: chaos, soak, streams}
shift
# A folder of its own: the two workspaces would build each other's dependencies again and again.
cargo build --quiet --locked --release --manifest-path "$root/bench/Cargo.toml" --target-dir "$target/bench"
tool=$target/bench/release/bench
case " $* " in
  *" --help "* | *" -h "*) exec "$tool" "$command" --help ;;
esac
if [ -z "${FRONTDESK_BIN:-}" ]; then
  cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p frontdesk --target-dir "$target"
  FRONTDESK_BIN=$target/release/frontdesk
fi
exec "$tool" "$command" --frontdesk "$FRONTDESK_BIN" "$@"
