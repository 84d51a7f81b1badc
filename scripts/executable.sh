# For scripts at the root of the repository to source: FRONTDESK_BIN is an executable afterwards, built where none is named.
if [ -z "${FRONTDESK_BIN:-}" ]; then
  if [ -z "${CARGO_TARGET_DIR:-}" ]; then
    CARGO_TARGET_DIR=$PWD/target
    if [ -d "$HOME/.cache/frontdesk-target" ]; then CARGO_TARGET_DIR=$HOME/.cache/frontdesk-target; fi
    export CARGO_TARGET_DIR
  fi
  cargo build --locked -p frontdesk
  FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk
fi
FRONTDESK_BIN=$(realpath -- "$FRONTDESK_BIN")
