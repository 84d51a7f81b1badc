#!/usr/bin/env bash
# Checks the Helm chart. See `test-helm.sh --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'HELP'
usage: scripts/test-helm.sh

Checks deploy/helm/frontdesk: `helm lint` and `helm template` with each file of its ci/, every object strictly in the
type that Kubernetes has for it, the pods by Kubernetes' own judge of the level "restricted", NetworkPolicies for exactly
the flows that are needed, the rights of NATS against nats/nats-server.conf, bad values for their sentences, and the
table of its README. With FRONTDESK_BIN and nats-server the roles also start with what the chart gives them, on the
loopback.

It needs Go 1.26 or newer. Helm and the rest are Go modules, pinned in tests/helm/go.mod; helm is built once into
${FRONTDESK_TOOLS:-$HOME/.cache/frontdesk-tools}, in one to five minutes. Where that can't be, the line "helm: not run
(why)" says so, and python3 checks what can be checked without: files of values against values.schema.json.

FRONTDESK_BIN  the executable whose roles are started; without, that test is left out
GO             the go to use; default: the one in the PATH, or /usr/local/go/bin/go
HELP
}

case ${1:-} in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) echo "test-helm.sh: unknown argument: $1 (see --help)" >&2; exit 2 ;;
esac

TOOLS=${FRONTDESK_TOOLS:-$HOME/.cache/frontdesk-tools}
HELM_VERSION=$(sed -n 's|^.*helm.sh/helm/v3 v\([0-9.]*\).*$|\1|p' tests/helm/go.mod)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
why=

find_go() {
  local version
  GO=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
  # No toolchain is downloaded behind one's back.
  version=$(GOTOOLCHAIN=local "$GO" env GOVERSION 2>/dev/null) || { why="there is no Go"; return 1; }
  if [ "$(printf '%s\n' go1.26 "$version" | sort -V | head -n 1)" != go1.26 ]; then
    why="Go is $version, and 1.26 is needed"
    return 1
  fi
}

build_helm() {
  HELM=$TOOLS/bin/helm-$HELM_VERSION
  if [ ! -x "$HELM" ]; then
    echo "test-helm.sh: building helm $HELM_VERSION into $TOOLS"
    mkdir -p "$TOOLS/bin"
    # Under another name first: who comes meanwhile must not find half of it.
    if ! CGO_ENABLED=0 timeout 900 "$GO" -C tests/helm build -trimpath -ldflags '-s -w' -o "$WORK/helm" helm.sh/helm/v3/cmd/helm \
      >"$WORK/log" 2>&1 </dev/null; then
      why="Go could not build helm: $(tail -n 1 "$WORK/log")"
      return 1
    fi
    mv "$WORK/helm" "$HELM.$$" && mv "$HELM.$$" "$HELM"
  fi
  # The tests' own modules may be missing where helm is there already.
  if ! timeout 300 "$GO" -C tests/helm list -test -deps ./... >/dev/null 2>"$WORK/log" </dev/null; then
    why="Go could not get its modules: $(tail -n 1 "$WORK/log")"
    return 1
  fi
}

export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
if find_go && build_helm; then
  echo "test-helm.sh: $("$GO" env GOVERSION), helm $HELM_VERSION"
  unformatted=$("$(dirname "$("$GO" env GOROOT)/bin/go")/gofmt" -l tests/helm)
  if [ -n "$unformatted" ]; then
    echo "test-helm.sh: gofmt would change $unformatted" >&2
    exit 1
  fi
  if [ -n "${FRONTDESK_BIN:-}" ]; then FRONTDESK_BIN=$(realpath -- "$FRONTDESK_BIN"); export FRONTDESK_BIN; fi
  export HELM
  timeout 300 "$GO" -C tests/helm vet ./...
  # -count=1: the chart is no input that Go would see a change of.
  timeout 300 "$GO" -C tests/helm test -count=1 -v ./... >"$WORK/tests" 2>&1 || { cat "$WORK/tests"; exit 1; }
  grep -E '^(ok|--- (PASS|SKIP)|    .*not run)' "$WORK/tests"
  exit
fi

echo "helm: not run ($why)"
if ! command -v python3 >/dev/null; then
  echo "the chart's values: not run (there is no python3)"
  exit
fi
python=python3
if ! python3 -c 'import jsonschema, yaml' 2>/dev/null; then
  if ! { python3 -m venv "$WORK/venv" && timeout 120 "$WORK/venv/bin/pip" install -q jsonschema pyyaml; } >"$WORK/log" 2>&1 </dev/null; then
    echo "the chart's values: not run (PyPI gave no jsonschema and pyyaml: $(tail -n 1 "$WORK/log"))"
    exit
  fi
  python=$WORK/venv/bin/python3
fi
"$python" -B tests/helm/without_helm.py
