#!/bin/sh
# Starts nats-server in its container: it takes passwords from its environment alone, and they stand in files.
set -eu
for role in edge worker analytics admin; do
  password=$(cat "/run/secrets/nats_${role}_password")
  export "NATS_$(echo "$role" | tr '[:lower:]' '[:upper:]')_PASSWORD=$password"
done
if [ -f /run/secrets/nats_route_password ]; then
  NATS_ROUTE_PASSWORD=$(cat /run/secrets/nats_route_password)
  export NATS_ROUTE_PASSWORD
  # In quotes, because nats-server reads a variable as a value of its configuration. A route to itself is no route.
  for server in 1 2 3; do
    export "NATS_ROUTE_$server='nats-route://route:$NATS_ROUTE_PASSWORD@nats-$server:6222'"
  done
fi
exec nats-server "$@"
