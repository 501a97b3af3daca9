#!/usr/bin/env bash
# Writes requirements.lock: every package of every extra but [speexdsp] and [load], for Python 3.11-3.13 on Linux and macOS, with hashes.
# uv resolves (docs/adr/0006), in a scratch environment; everybody else installs with plain pip.
# Then those derived from it: deploy/requirements.lock, deploy/image/*.lock, tests/abuse/requirements.lock and tests/load/requirements.lock.
# usage: scripts/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$(scripts/python.sh)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$python" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.9'
"$tmp/venv/bin/uv" pip compile pyproject.toml scripts/build.in \
  --extra embedded --extra talk --extra timeline --extra bench --extra otel --extra auth --extra redis --extra dev \
  --override scripts/overrides.in \
  --universal --python-version 3.11 --only-binary :all: \
  --generate-hashes --no-config --default-index https://pypi.org/simple --no-emit-index-url \
  --custom-compile-command "make lock" --quiet --output-file requirements.lock "$@"
derived() { # derived FILE ARGUMENTS...: packages that are also in requirements.lock have the same versions
  local file=$1
  shift
  "$tmp/venv/bin/uv" pip compile "$@" --constraint requirements.lock \
    --universal --python-version 3.11 --only-binary :all: \
    --generate-hashes --no-config --default-index https://pypi.org/simple --no-emit-index-url --no-annotate \
    --custom-compile-command "make lock" --quiet --output-file "$file"
}
image=(pyproject.toml --extra otel --extra auth --extra redis --override scripts/overrides.in --override scripts/image-overrides.in)
derived deploy/requirements.lock deploy/requirements.in                              # what checks deploy/
derived deploy/image/runtime.lock "${image[@]}"                                      # what is in the image
derived deploy/image/embedded.lock "${image[@]}" --extra embedded --extra timeline   # … with engines and demo
derived deploy/image/build.lock scripts/build.in                                     # what builds the wheel in it
derived deploy/image/sbom.lock deploy/image/sbom.in                                  # what lists what is in it
derived tests/abuse/requirements.lock tests/abuse/requirements.in                    # what fuzzes
derived tests/load/requirements.lock pyproject.toml --extra load                     # what `tox -e locust` adds
if grep -nE 'file://|--(extra-)?index-url|--find-links|@ ' requirements.lock; then
  echo "a lock file names a place only this machine knows" >&2
  exit 1
fi
echo "requirements.lock: $(grep -cE '^[a-z0-9-]+==' requirements.lock) pinned packages"
