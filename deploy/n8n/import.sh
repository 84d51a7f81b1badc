#!/bin/sh
# Puts the workflow and its credentials into a new n8n, once: what is changed in the editor later stays.
set -eu
done=/home/node/.n8n/frontdesk-imported
if [ -f "$done" ]; then
  echo "the workflow is there already; delete $done to import it anew"
  exit 0
fi
# Secrets are letters, digits, - and _ (scripts/setup.sh), and the model's key is checked: no JSON has to be escaped.
api_key=$(cat /run/secrets/n8n_api_key)
session=$(cat /run/secrets/session_secret_key)
model=$(cat /run/secrets/model_api_key)
case $model in
  put-the-key*) echo "put the key of your model into secrets/model_api_key, and start this again" >&2; exit 1 ;;
esac
case $model$MODEL_URL in
  *[!A-Za-z0-9_.:/~-]*) echo "model_api_key or MODEL_URL has a character that no key and no address has" >&2; exit 1 ;;
esac
umask 077
cat > /tmp/credentials.json <<JSON
[
  {"id": "frontdeskApiKey01", "name": "Frontdesk API key", "type": "httpHeaderAuth",
   "data": {"name": "X-API-Key", "value": "$api_key"}},
  {"id": "frontdeskVisitor1", "name": "Frontdesk visitor token", "type": "jwtAuth",
   "data": {"keyType": "passphrase", "secret": "$session", "algorithm": "HS256"}},
  {"id": "frontdeskModel001", "name": "Frontdesk model", "type": "openAiApi",
   "data": {"apiKey": "$model", "url": "$MODEL_URL"}}
]
JSON
n8n import:credentials --input=/tmp/credentials.json
rm /tmp/credentials.json
# An import of the editor finds credentials by their names; that of the command line wants their ids.
node -e '
  const { readFileSync, writeFileSync } = require("node:fs");
  const ids = { httpHeaderAuth: "frontdeskApiKey01", jwtAuth: "frontdeskVisitor1", openAiApi: "frontdeskModel001" };
  const workflow = JSON.parse(readFileSync("/workflows/support-agent.json", "utf8"));
  for (const node of workflow.nodes) {
    for (const [type, credential] of Object.entries(node.credentials ?? {})) credential.id = ids[type];
  }
  writeFileSync("/tmp/workflow.json", JSON.stringify([workflow]));
'
n8n import:workflow --input=/tmp/workflow.json
n8n publish:workflow --id=fdSupportAgent01
touch "$done"
