#!/usr/bin/env bash
# Lists what is in an image (CycloneDX), and checks the list against the lock file that the image was made from.
# usage: scripts/sbom.sh ARCHIVE LOCK OUT.cdx.json [MACHINE]     ARCHIVE: docker-archive (`docker save`, `podman save`); MACHINE: x86_64, aarch64
#
# Syft reads the image itself: Python's packages, Debian's, and the files they brought. It comes from the package index with its hash
# (deploy/image/sbom.lock); nothing else is asked.
set -euo pipefail
cd "$(dirname "$0")/.."
archive=$1 lock=$2 out=$3 machine=${4:-$(uname -m)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$(scripts/python.sh)" -m venv "$tmp"
"$tmp/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --only-binary :all: -r deploy/image/sbom.lock
mkdir -p "$(dirname "$out")"
SYFT_CHECK_FOR_APP_UPDATE=false "$tmp/bin/syft" scan --quiet --source-name voicefsm "docker-archive:$archive" --output "cyclonedx-json@1.6=$out"
"$tmp/bin/python" scripts/sbom.py "$out" "$lock" "$machine"
