#!/usr/bin/env bash
# Renders every overlay as a release has it: with the images of that release, by digest.
# usage: scripts/release_overlays.sh OUT IMAGE GATEWAY_DIGEST EMBEDDED_DIGEST
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 image=$2 gateway=$3 embedded=$4
kubectl=$(scripts/kubectl.sh --find)
mkdir -p "$out"
for overlay in deploy/kustomize/overlays/*/; do
  "$kubectl" kustomize "$overlay" |
    sed -E "s#(image: )ghcr.io/voicefsm/voicefsm:[^ ]*-embedded\$#\1$image@$embedded#; s#(image: )ghcr.io/voicefsm/voicefsm:[^ ]*\$#\1$image@$gateway#" \
      >"$out/$(basename "$overlay").yaml"
done
if grep -n 'ghcr.io/voicefsm/voicefsm:' "$out"/*.yaml; then
  echo "an image of the release is named by its tag" >&2
  exit 1
fi
grep -c "image: $image@sha256:" "$out"/*.yaml
