#!/usr/bin/env bash
# All checks and tests, from an empty machine on. See `test.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian puts nats-server there.
PATH=$PATH:/usr/sbin:/sbin

usage() {
  cat <<'HELP'
usage: scripts/test.sh [--no-n8n] [--no-compose]

Checks form, lints and types, builds, and runs every test: of the crates, of the widget and the dashboard, of both in a browser,
the attacks of scripts/test-security.sh, the alerts and dashboards by scripts/test-observability.sh, against a real n8n,
and compose.yaml with a Docker engine. Asks nothing, stops at the first failure, ends with "all green".

--no-n8n      leaves the real n8n out, which takes 10 minutes and 3.5 GB the first time
--no-compose  leaves compose.yaml out, for which a NATS and a Jaeger are built the first time, in 10 minutes

What is missing is installed through apt (as root or with sudo that asks nothing) and npm, and said: a C++ compiler,
make, curl, python3 with PyYAML, php, nats-server, iproute2, slowhttptest, openssl, chromium, its font, node with npm;
schemathesis for the attacks from PyPI, and where that can't be reached, its check is skipped and said. Playwright, axe,
pixelmatch and TypeScript come from npm; uPlot once more, to compare the dashboard's copy, or the line "not run (why)".
Prometheus is unpacked from Debian's package, so that its service doesn't start. Rust is not: https://rustup.rs. A real n8n
goes to
${FRONTDESK_N8N_CACHE:-$HOME/.cache/frontdesk-n8n}; where it can't be installed, its tests are left out with the
line "real n8n: not run (why)". Where no Docker engine runs and none can be started, the line is "compose: not
run (why)"; docker.io and docker-compose come through apt. Where the machine gives no namespaces (a container, mostly), the stories of a network in
which packets vanish and of a full disk say "not run (why)". Everything else that can't run is a failure.

cargo-deny, which looks at what the crates depend on, is built by cargo into
${FRONTDESK_TOOLS:-$HOME/.cache/frontdesk-tools}, once, in one to three minutes; where it can't be, the line "cargo deny:
not run (why)" says so. The Helm chart needs Go 1.26 or newer, which builds helm into that folder, in one to five minutes;
without it, "helm: not run (why)", and only its files of values are checked.

Builds into $CARGO_TARGET_DIR; without it into $HOME/.cache/frontdesk-target if that folder is there (make it to
share one between checkouts), else into ./target.
HELP
}

WITH_N8N=1
WITH_COMPOSE=1
for argument in "$@"; do
  case $argument in
    --no-n8n) WITH_N8N= ;;
    --no-compose) WITH_COMPOSE= ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test.sh: unknown argument: $argument (see --help)" >&2; exit 2 ;;
  esac
done

# Seconds from the start until what is installed beside the tests is given up: the whole shall end within 40 minutes.
INSTALLED_BY=1980
# And until compose.yaml is begun, which builds an executable of its own and may take thirteen minutes on two cores.
COMPOSE_BY=1560

TOOLS=${FRONTDESK_TOOLS:-$HOME/.cache/frontdesk-tools}
DENY_VERSION=0.20.2

WORK=$(mktemp -d)
INSTALLING=   # the installation of n8n, in the background
FETCHING=     # that of what compose needs, a group of processes
DOING=        # the step, for the line about a failure

finish() {
  local status=$?
  trap - EXIT
  if [ -n "$INSTALLING" ] && kill -0 "$INSTALLING" 2>/dev/null; then
    # It ends its own children.
    kill -TERM "$INSTALLING" 2>/dev/null || true
    wait "$INSTALLING" 2>/dev/null || true
  fi
  if [ -n "$FETCHING" ]; then kill -TERM -- "-$FETCHING" 2>/dev/null || true; fi
  rm -rf "$WORK"
  if [ "$status" != 0 ]; then
    printf '\nFAILED: %s (after %s)\n' "${DOING:-the start}" "$(minutes "$SECONDS")" >&2
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

minutes() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }
say() { printf 'test.sh: %s\n' "$*"; }
give_up() { say "$*" >&2; exit 1; }

# step HEADLINE COMMAND...
step() {
  local began=$SECONDS
  DOING=$1
  shift
  printf '\n== %s\n' "$DOING"
  "$@"
  printf -- '-- %s: %d s\n' "$DOING" $((SECONDS - began))
}

# ---- what the tests need ------------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }
has_browser() { [ -n "${CHROMIUM:-}" ] || has chromium || has chromium-browser || has google-chrome || has google-chrome-stable; }
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_yaml() { python3 -c 'import yaml' 2>/dev/null || /usr/bin/python3 -c 'import yaml' 2>/dev/null; }
node_is_new() { has node && [ "$(node --print 'process.versions.node.split(".")[0]')" -ge 20 ]; }

apt_install() {
  local sudo=() log=$WORK/apt.log
  has apt-get || give_up "missing: $*. There is no apt-get here: install these (Debian's names) and start again."
  if [ "$(id -u)" != 0 ]; then
    if ! has sudo || ! sudo -n true 2>/dev/null; then
      give_up "missing: $*. To install them run as root: apt-get install $*"
    fi
    sudo=(sudo -n)
  fi
  say "installing with apt-get: $*"
  if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    give_up "apt-get could not install $*"
  fi
}

install_what_is_missing() {
  local packages=()
  has cargo || give_up "there is no cargo: install Rust from https://rustup.rs"
  if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    has rustup || give_up "cargo fmt or cargo clippy is missing: install rustfmt and clippy for your Rust"
    say "installing with rustup: rustfmt clippy"
    rustup component add rustfmt clippy
  fi
  has cc && has c++ || packages+=(g++)
  has make || packages+=(make)
  has curl || packages+=(curl ca-certificates)
  has python3 || packages+=(python3)
  has_venv || packages+=(python3-venv)
  has_yaml || packages+=(python3-yaml)
  has php || packages+=(php-cli)
  has nats-server || packages+=(nats-server)
  has ip || packages+=(iproute2)
  has unshare || packages+=(util-linux)
  has slowhttptest || packages+=(slowhttptest)
  has openssl || packages+=(openssl)
  has_browser || packages+=(chromium)
  # The pictures of the chat are written in it.
  [ -f /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || packages+=(fonts-dejavu-core)
  has node || packages+=(nodejs)
  has npm || packages+=(npm)
  if [ ${#packages[@]} -gt 0 ]; then apt_install "${packages[@]}"; fi
  if ! node_is_new; then
    # Debian 12 has node 18.
    say "installing with npm, into a temporary folder: node 22 (here is $(node --version), and 20 is needed)"
    npm install --prefix "$WORK/node" --no-audit --no-fund --loglevel=error node@22
    PATH=$WORK/node/node_modules/node/bin:$PATH
    node_is_new || give_up "the node of npm does not run here"
  fi
  say "cargo $(cargo --version | cut -d ' ' -f 2), node $(node --version), $(nats-server --version)"
}

# ---- steps --------------------------------------------------------------------------------------------------------

lint_bench() {
  cargo fmt --check --manifest-path bench/Cargo.toml
  cargo clippy --locked --manifest-path bench/Cargo.toml --all-targets -- -D warnings
}

# Their properties run in the tests of the crates; here they only must fit. They link with a nightly compiler alone.
lint_fuzz() {
  cargo fmt --check --manifest-path fuzz/Cargo.toml
  cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings
}

# With what is private: nothing is published, and who reads this works on the inside.
document() {
  RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" \
    cargo doc --locked --workspace --no-deps --document-private-items
}

# Not what happens to be in the PATH: another version may know other rules.
install_deny() {
  local log=$WORK/deny-install.log
  if [ "$("$TOOLS/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $DENY_VERSION" ]; then return; fi
  say "building cargo-deny $DENY_VERSION into $TOOLS"
  # Not optimised: it runs three times, each for some seconds at most.
  if ! CARGO_TARGET_DIR=$WORK/deny-target timeout 900 cargo install --locked --quiet --force --debug --root "$TOOLS" \
    cargo-deny --version "$DENY_VERSION" >"$log" 2>&1 </dev/null; then
    printf 'cargo deny: not run (cargo could not install it: %s)\n' "$(tail -n 1 "$log")"
    return 1
  fi
  rm -rf "$WORK/deny-target"
}

# Known holes are not asked about here: their list is on the network, and a new entry must not fail an old commit.
check_dependencies() {
  local manifest
  if ! install_deny; then return; fi
  for manifest in Cargo.toml bench/Cargo.toml fuzz/Cargo.toml; do
    # Licences that only another of the three needs are no news.
    echo "$manifest"
    "$TOOLS/bin/cargo-deny" --manifest-path "$manifest" --locked --config deny.toml check \
      --allow license-not-encountered --allow license-exception-not-encountered bans licenses sources
  done
}

# test_in_browser FOLDER [STORIES]
test_in_browser() { FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk "$1/test/browser/run.sh" "${@:2}"; }

check_chart() { FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk scripts/test-helm.sh; }

attack() { FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk scripts/test-security.sh; }

observe() { FRONTDESK_BIN=$CARGO_TARGET_DIR/debug/frontdesk scripts/test-observability.sh; }

# Waits for the installation in the background. 75 is its word for "not possible here".
real_n8n() {
  local status=0 waited=0 why log=$WORK/n8n-install.log
  while kill -0 "$INSTALLING" 2>/dev/null; do
    if [ "$SECONDS" -ge "$INSTALLED_BY" ]; then
      kill -TERM "$INSTALLING" 2>/dev/null || true
      wait "$INSTALLING" 2>/dev/null || true
      INSTALLING=
      printf 'real n8n: not run (not installed after %s: %s)\n' "$(minutes "$SECONDS")" "$(tail -n 1 "$log")"
      return
    fi
    if [ $((waited % 30)) = 5 ]; then say "waiting for n8n: $(tail -n 1 "$log")"; fi
    sleep 1
    waited=$((waited + 1))
  done
  wait "$INSTALLING" || status=$?
  INSTALLING=
  if [ "$status" = 75 ]; then
    why=$(sed -n 's/^n8n.sh: cannot install: //p' "$log" | tail -n 1)
    printf 'real n8n: not run (%s)\n' "${why:-no reason given}"
    return
  fi
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    return "$status"
  fi
  scripts/n8n.sh run -- cargo test --locked -p frontdesk --test real_n8n -- --ignored
}

# The same for compose: first what it needs, then the stack.
compose() {
  local status=0 log=$WORK/compose-install.log
  while kill -0 "$FETCHING" 2>/dev/null; do
    if [ "$SECONDS" -ge "$COMPOSE_BY" ]; then
      printf 'compose: not run (not installed after %s: %s)\n' "$(minutes "$SECONDS")" "$(tail -n 1 "$log")"
      return
    fi
    sleep 1
  done
  wait "$FETCHING" || status=$?
  FETCHING=
  if [ "$SECONDS" -ge "$COMPOSE_BY" ]; then
    printf 'compose: not run (%s have gone, and all shall end within 40; try scripts/test-compose.sh)\n' "$(minutes "$SECONDS")"
    return
  fi
  if [ "$status" = 0 ]; then scripts/test-compose.sh 2>"$log" || status=$?; fi
  if [ "$status" = 75 ]; then
    printf 'compose: not run (%s)\n' "$(sed -n 's/^test-compose.sh: cannot run: //p' "$log" | tail -n 1)"
    return
  fi
  if [ "$status" != 0 ]; then tail -n 60 "$log" >&2; fi
  return "$status"
}

# ---- all of it ----------------------------------------------------------------------------------------------------

if [ -z "${CARGO_TARGET_DIR:-}" ]; then
  CARGO_TARGET_DIR=$PWD/target
  if [ -d "$HOME/.cache/frontdesk-target" ]; then CARGO_TARGET_DIR=$HOME/.cache/frontdesk-target; fi
fi
export CARGO_TARGET_DIR

step "What the tests need" install_what_is_missing
if [ -n "$WITH_N8N" ]; then
  # Mostly the network's time: it runs beside the compiler, and behind it where both want the machine.
  nice -n 19 scripts/n8n.sh install >"$WORK/n8n-install.log" 2>&1 </dev/null &
  INSTALLING=$!
fi
if [ -n "$WITH_COMPOSE" ]; then
  # A group of its own, to be ended as one. In a session of its own it would have half of the machine (see n8n.sh).
  set -m
  nice -n 19 scripts/test-compose.sh install >"$WORK/compose-install.log" 2>&1 </dev/null &
  FETCHING=$!
  set +m
fi
step "Form" cargo fmt --check
step "Lints" cargo clippy --locked --workspace --all-targets -- -D warnings
if [ -f bench/Cargo.toml ]; then step "Load tools" lint_bench; fi
step "Fuzz targets" lint_fuzz
step "Docs" document
step "Dependencies" check_dependencies
step "Build" cargo build --locked
step "Tests" cargo test --locked --workspace
step "Types" widget/test/types.sh
step "Widget" node --test --test-reporter=spec widget/test/*.test.js
step "Dashboard" node --test --test-reporter=spec dashboard/test/*.test.js
step "Widget in a browser" test_in_browser widget
step "Widget on pages of shops" test_in_browser widget widget/test/browser/embed.test.js
step "Theme studio in a browser" test_in_browser widget widget/test/browser/studio.test.js
step "Dashboard in a browser" test_in_browser dashboard
step "Menu of the widget" test_in_browser widget widget/test/browser/menu.test.js
step "Comments in the widget" test_in_browser widget widget/test/browser/comments.test.js
step "Widget for everybody" test_in_browser widget widget/test/browser/access.test.js
step "Helm chart" check_chart
step "Looks of the widget" test_in_browser widget widget/test/browser/look.test.js
step "Attacks" attack
step "Alerts and dashboards" observe
if [ -n "$WITH_N8N" ]; then step "Real n8n" real_n8n; else echo "real n8n: not run (--no-n8n)"; fi
if [ -n "$WITH_COMPOSE" ]; then step "Compose" compose; else echo "compose: not run (--no-compose)"; fi

DOING=
printf '\nall green in %s\n' "$(minutes "$SECONDS")"
