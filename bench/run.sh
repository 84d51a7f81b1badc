#!/usr/bin/env bash
# Builds Frontdesk and the tool, both with optimisation, and measures that executable beside nginx and a direct call; with a
# command (`bench/run.sh chaos`, `soak`, `streams`), does that instead. Takes the arguments that `--help` tells, but for
# `--frontdesk`: FRONTDESK_BIN names another executable.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian puts nats-server there.
PATH=$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$root/target}
command=()
if [[ ${1:--} != -* ]]; then
  command=("$1")
  shift
fi
# A folder of its own: the two workspaces would build each other's dependencies again and again.
cargo build --quiet --locked --release --manifest-path "$root/bench/Cargo.toml" --target-dir "$target/bench"
tool=$target/bench/release/bench
case " $* " in
  *" --help "* | *" -h "*) exec "$tool" "${command[@]}" --help ;;
esac
if [ -z "${FRONTDESK_BIN:-}" ]; then
  cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p frontdesk --target-dir "$target"
  FRONTDESK_BIN=$target/release/frontdesk
fi
exec "$tool" "${command[@]}" --frontdesk "$FRONTDESK_BIN" "$@"
