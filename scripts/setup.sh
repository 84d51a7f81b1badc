#!/usr/bin/env bash
# Makes this folder ready for `docker compose up`. See `setup.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'HELP'
usage: scripts/setup.sh [--n8n] [--cluster]

Looks whether Docker and its compose are there and new enough and the ports free, and makes what compose.yaml needs:

  secrets/        a file for each secret and password, fresh and random
  frontdesk.env   settings of Frontdesk (README.md, "Settings"), secrets not among them
  .env            settings of compose: profiles, ports

What is there already stays as it is, so it can be run again at any time.

--n8n      an n8n of its own with the support agent answers, in the place of the demo
--cluster  three NATS servers in the place of one

A made-up shop on http://127.0.0.1:8080 shows the chat; without --n8n a demo answers.
exit status: 0 all is ready; 1 something is missing, and the last line says what; 2 wrong usage
HELP
}

PROFILES=demo
FILES=compose.yaml
for argument in "$@"; do
  case $argument in
    --n8n) PROFILES=demo,n8n ;;
    --cluster) FILES=compose.yaml:compose.cluster.yaml ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup.sh: unknown argument: $argument (see --help)" >&2; exit 2 ;;
  esac
done

say() { printf 'setup.sh: %s\n' "$*"; }
give_up() { say "$*" >&2; exit 1; }

# at_least WANTED VERSION
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# ---- Docker ---------------------------------------------------------------------------------------------------------

command -v docker >/dev/null || give_up "there is no docker: https://docs.docker.com/engine/install/"
engine=$(docker version --format '{{.Server.Version}}' 2>/dev/null) ||
  give_up "no Docker engine answers: start it, or add yourself to the group docker"
at_least 20.10 "$engine" || give_up "Docker $engine is too old: 20.10 or newer is needed"
if compose=$(docker compose version --short 2>/dev/null); then
  COMPOSE="docker compose"
elif compose=$(docker-compose version --short 2>/dev/null); then
  COMPOSE=docker-compose
else
  give_up "there is no docker compose: https://docs.docker.com/compose/install/"
fi
at_least 1.29 "${compose#v}" || give_up "compose $compose is too old: 2, or 1.29, or newer is needed"
# The Dockerfile keeps what it fetched and built, which the old builder can't.
if [ "$COMPOSE" = "docker compose" ]; then
  docker buildx version >/dev/null 2>&1 || give_up "there is no docker buildx, which builds the image: https://docs.docker.com/build/install-buildx/"
fi
say "Docker $engine, $COMPOSE ${compose#v}"

# ---- .env -----------------------------------------------------------------------------------------------------------

# remember NAME VALUE: a line of .env, unless the name stands there.
remember() {
  if ! grep -q "^$1=" .env 2>/dev/null; then
    # A file that doesn't end with a line break would swallow the line.
    if [ -s .env ] && [ -n "$(tail -c 1 .env)" ]; then echo >>.env; fi
    printf '%s=%s\n' "$1" "$2" >>.env
    made="$made $1"
  fi
}
setting() { sed -n "s/^$1=//p" .env | tail -n 1; }

made=
remember COMPOSE_PROJECT_NAME frontdesk
remember COMPOSE_FILE "$FILES"
remember COMPOSE_PROFILES "$PROFILES"
if [ "$COMPOSE" = docker-compose ]; then
  remember COMPOSE_DOCKER_CLI_BUILD 1
  remember DOCKER_BUILDKIT 1
fi
remember CHAT_PORT 8000
remember SHOP_PORT 8080
remember ANALYTICS_PORT 8002
remember GRAFANA_PORT 3000
remember PROMETHEUS_PORT 9090
remember JAEGER_PORT 16686
remember N8N_PORT 5678
if [ -n "$made" ]; then say "wrote into .env:$made"; else say ".env has it all, and stays"; fi
for name in "COMPOSE_FILE:$FILES" "COMPOSE_PROFILES:$PROFILES"; do
  if [ "$(setting "${name%%:*}")" != "${name#*:}" ]; then
    say "note: ${name%%:*} is $(setting "${name%%:*}") in .env, not ${name#*:}"
  fi
done

# ---- ports ----------------------------------------------------------------------------------------------------------

profiles=$(setting COMPOSE_PROFILES)
ports="CHAT_PORT ANALYTICS_PORT GRAFANA_PORT PROMETHEUS_PORT JAEGER_PORT"
case ,$profiles, in *,demo,*) ports="$ports SHOP_PORT" ;; esac
case ,$profiles, in *,n8n,*) ports="$ports N8N_PORT" ;; esac
running=$(docker ps -q --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)")
if [ -n "$running" ]; then
  say "it runs already; ports are not looked at"
else
  taken=
  for name in $ports; do
    port=$(setting "$name")
    case $port in '' | *[!0-9]*) give_up "$name in .env is no port: $port" ;; esac
    # Whoever answers there has it.
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken="$taken $name=$port"; fi
  done
  if [ -n "$taken" ]; then give_up "taken by another program:$taken. Choose other ports in .env and start again"; fi
fi

# ---- secrets --------------------------------------------------------------------------------------------------------

# secret NAME: 48 random bytes. It begins with letters, because nats-server would take digits for a number.
#
# Only the owner may enter the folder. The files themselves anybody may read: compose mounts a file as it is, and the
# users in the containers are none of this machine.
secret() {
  if [ -s "secrets/$1" ]; then return; fi
  (umask 077 && printf 'pw%s\n' "$(head -c 48 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')" >"secrets/$1")
  chmod 0644 "secrets/$1"
  made="$made $1"
}

made=
mkdir -p secrets
chmod 0700 secrets
for name in jwt_secret_key session_secret_key n8n_api_key admin_token nats_edge_password nats_worker_password \
  nats_analytics_password nats_admin_password nats_route_password grafana_admin_password n8n_encryption_key; do
  secret "$name"
done
if [ ! -e secrets/model_api_key ]; then
  echo put-the-key-of-your-model-here >secrets/model_api_key
  chmod 0644 secrets/model_api_key
  made="$made model_api_key"
fi
if [ -n "$made" ]; then say "wrote into secrets/:$made"; else say "secrets/ has them all, and they stay"; fi

# ---- frontdesk.env --------------------------------------------------------------------------------------------------

if [ -e frontdesk.env ]; then
  say "frontdesk.env is there, and stays"
else
  chat=http://127.0.0.1:$(setting CHAT_PORT)
  shop=$(setting SHOP_PORT)
  if [ "$PROFILES" = demo,n8n ]; then
    upstream="N8N_WEBHOOK_URL=http://n8n:5678/webhook/frontdesk-support
# Where n8n reaches the edges, for what a workflow says late. An n8n elsewhere: leave it out, then it is PUBLIC_URL.
REPLY_URL_BASE=http://edge:8000"
  else
    upstream="# Your own n8n: its address here, and no \`demo\` in COMPOSE_PROFILES of .env.
N8N_WEBHOOK_URL=http://demo:8003/webhook/demo"
  fi
  (umask 077 && : >frontdesk.env)
  cat >frontdesk.env <<SETTINGS
# Settings of all roles, see README.md. Secrets belong into secrets/. After a change: $COMPOSE up -d

# Where browsers find the chat, and the pages that may show it.
PUBLIC_URL=$chat
ALLOWED_ORIGINS=http://127.0.0.1:$shop,http://localhost:$shop

$upstream

LOG_FORMAT=json

# Traces. In production a part of them is enough: OTEL_TRACES_SAMPLER_ARG=0.1
OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318
OTEL_TRACES_SAMPLER_ARG=1
SETTINGS
  say "wrote frontdesk.env"
fi

# ---- next -----------------------------------------------------------------------------------------------------------

printf '\nNext:  %s up -d     (the first time it builds the image: some minutes)\n' "$COMPOSE"
case ,$profiles, in
  *,n8n,*)
    if grep -q put-the-key secrets/model_api_key; then
      echo "First: put the key of your model (OpenAI, or another: docs/compose.md) into secrets/model_api_key"
    fi ;;
esac
case ,$profiles, in
  *,demo,*) echo "Then:  open http://127.0.0.1:$(setting SHOP_PORT), a shop with the chat" ;;
  *) echo "Then:  curl http://127.0.0.1:$(setting CHAT_PORT)/health" ;;
esac
cat <<NEXT
       http://127.0.0.1:$(setting ANALYTICS_PORT)   dashboard, with secrets/admin_token
       http://127.0.0.1:$(setting GRAFANA_PORT)   Grafana, admin with secrets/grafana_admin_password
       http://127.0.0.1:$(setting JAEGER_PORT)  traces;  http://127.0.0.1:$(setting PROMETHEUS_PORT)  Prometheus
NEXT
