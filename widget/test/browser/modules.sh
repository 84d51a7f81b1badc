# To be sourced by a script with a function `fail`: sets MODULES to a folder with what package-lock.json pins.
command -v node >/dev/null || fail 'node 20 or newer is needed'
(($(node --print 'process.versions.node.split(".")[0]') >= 20)) || fail "node 20 or newer is needed, this is $(node --version)"

LOCKED=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-${HOME:?}/.cache}/frontdesk-browser

# One folder for each lock file. It appears whole or not at all, also when two runs start together.
MODULES=$CACHE/$(sha256sum "$LOCKED/package-lock.json" | cut -c1-16)
if [[ ! -d $MODULES ]]; then
  command -v npm >/dev/null || fail 'npm is needed to install the packages of package-lock.json'
  mkdir -p "$CACHE"
  fresh=$(mktemp -d "$CACHE/install.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  cp "$LOCKED/package.json" "$LOCKED/package-lock.json" "$fresh/"
  npm ci --prefix "$fresh" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || fail 'npm could not install the packages of package-lock.json'
  mv -T "$fresh" "$MODULES" 2>/dev/null || [[ -d $MODULES ]] || fail "can't write to $MODULES"
  rm -rf "$fresh"
  trap - EXIT
fi
