#!/usr/bin/env bash
# Proves that `pip install '.[embedded,dev]'` needs no compiler: resolves it from wheels alone for every Python and platform we name.
# Nothing is installed; uv only asks the index which wheels exist.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$(scripts/python.sh)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$python" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.9'
failed=0
resolve() { # resolve PLATFORM VERSION: from wheels alone
  "$tmp/venv/bin/uv" pip compile pyproject.toml --extra embedded --extra talk --extra dev \
    --python-platform "$1" --python-version "$2" --only-binary :all: \
    --no-config --default-index https://pypi.org/simple --quiet --output-file "$tmp/out" 2>"$tmp/why"
}
for version in 3.11 3.12 3.13; do
  for platform in x86_64-manylinux_2_28 aarch64-apple-darwin x86_64-apple-darwin aarch64-manylinux_2_28; do
    if resolve "$platform" "$version"; then
      echo "ok      Python $version  $platform"
    else
      echo "FAILED  Python $version  $platform: $(tr '\n' ' ' <"$tmp/why" | cut -c1-300)"
      failed=$((failed + 1))
    fi
  done
done
if [ "$failed" -gt 0 ]; then
  echo "wheels: $failed combinations lack a wheel"
  exit 1
fi
echo "wheels: every combination installs from wheels alone"
