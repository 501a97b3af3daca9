#!/usr/bin/env bash
# Lists what is in an image (CycloneDX), and checks the list against the lock file that the image was made from.
# usage: scripts/sbom.sh SOURCE LOCK OUT.cdx.json [MACHINE]
#   SOURCE: docker-archive:FILE (`podman save`, `docker save`) or registry:IMAGE; MACHINE: x86_64 or aarch64, of an image that has both.
#
# Syft reads the image itself: Python's packages, Debian's, and the files they brought. It comes from the package index with its hash
# (deploy/image/sbom.lock); of an archive nobody else is asked.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$1 lock=$2 out=$3 machine=${4:-$(uname -m)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$(scripts/python.sh)" -m venv "$tmp"
"$tmp/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --only-binary :all: -r deploy/image/sbom.lock
mkdir -p "$(dirname "$out")"
platform=()
case $source in registry:*) platform=(--platform "linux/$([ "$machine" = aarch64 ] && echo arm64 || echo amd64)") ;; esac
SYFT_CHECK_FOR_APP_UPDATE=false "$tmp/bin/syft" scan --quiet --source-name voicefsm "${platform[@]}" "$source" --output "cyclonedx-json@1.6=$out"
"$tmp/bin/python" scripts/sbom.py "$out" "$lock" "$machine"
