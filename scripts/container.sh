#!/usr/bin/env bash
# Builds both images with buildah, and holds conversations in them, locked down: read-only root, user 1000, no capabilities, no new privileges,
# and no shell.
# usage: scripts/container.sh [base|build|size|run|features|sbom|kube|all]
#   run: the gateway without backends (health, a root that cannot be written, SIGTERM), and the demo.
#   features: TLS, a ConfigMap that changes, journals, Redis, drain (scripts/container_checks.py); needs .venv (make setup) and redis-server.
#   sbom: what is in both images, checked against the lock files, into $OUT (dist); needs the package index (scripts/sbom.sh).
#   kube: `podman kube play` of what the overlay dev renders to, and a question to it over the port; needs .venv (make setup, make deploy).
#   all: build, size, run.
#
# BASE=... is another base image than the Dockerfile's: on a host that reaches no registry, one made here by scripts/container.sh base (Debian's
# Python, with debootstrap, as root). PODMAN_OPTIONS and RUN_OPTIONS are for hosts where a container cannot be started otherwise; so are the
# defaults of BUILD_OPTIONS. The demo wants two cores: on a busy host, DEMO="nice -n -15" (root) puts it before the others.
# Written and run with buildah 1.28 and podman 4.3 (Debian 12).
set -euo pipefail
cd "$(dirname "$0")/.."
NAME=${NAME:-localhost/voicefsm}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
read -ra build_options <<<"${BUILD_OPTIONS:---isolation chroot --network host}"
read -ra podman_options <<<"${PODMAN_OPTIONS:-}"
read -ra run_options <<<"${RUN_OPTIONS:-}"
locked_down=(--network host --read-only --tmpfs /tmp:rw,size=256m --user 1000 --cap-drop=ALL --security-opt no-new-privileges)
# In the place of each shell that Debian has: something that cannot be run.
for shell in sh dash bash; do locked_down+=(--volume "/dev/null:/usr/bin/$shell:ro"); done
read -ra demo <<<"${DEMO:-}"

PODMAN=(podman "${podman_options[@]}")
podman() { command "${PODMAN[@]}" "$@"; }
fail() {
  echo "container: $*" >&2
  exit 1
}

base() { # a base image from Debian's packages alone
  local root
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root"
  chroot "$root" apt-get clean
  rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
  local container mount
  container=$(buildah from scratch)
  mount=$(buildah mount "$container")
  cp -a "$root/." "$mount/"
  buildah umount "$container" >/dev/null
  buildah commit --quiet --rm "$container" localhost/python-base:3.11
  rm -rf "$root"
  echo "container: BASE=localhost/python-base:3.11"
}

build() {
  local target tag revision # labels, not arguments: buildah 1.28 takes a layer from its cache whose argument was another one
  revision=(--label "org.opencontainers.image.revision=$(git rev-parse HEAD)" --label "org.opencontainers.image.created=$(git log -1 --format=%cI)")
  for target in gateway embedded; do
    tag=$VERSION
    [ "$target" = gateway ] || tag=$VERSION-$target
    buildah build "${build_options[@]}" ${BASE:+--from "$BASE"} --layers --format docker --build-arg VERSION="$VERSION" \
      "${revision[@]}" --target "$target" --tag "$NAME:$tag" .
  done
}

size() { # of the images, and of what is theirs beyond the base
  podman images --filter "reference=$NAME" --format 'container: {{.Repository}}:{{.Tag}} {{.Size}}'
  local tag
  for tag in "$VERSION" "$VERSION-embedded"; do
    podman history --format '{{.Size}} {{.CreatedBy}}' "$NAME:$tag" | sed -n "s/^\([0-9.]* [kMG]B\) .*COPY dir.*/container: of it $tag's own environment: \1/p"
    podman inspect --format '{{range $key, $value := .Labels}}{{$key}}={{$value}}{{"\n"}}{{end}}' "$NAME:$tag" | sed -n 's/^org\./container:   org./p'
  done
}

run_demo() { # the whole conversation with barge-in, inside
  "${demo[@]}" "${PODMAN[@]}" run --rm --no-healthcheck "${locked_down[@]}" "${run_options[@]}" "$NAME:$VERSION-embedded" demo --out /tmp/demo-out
}

run_gateway() ( # the gateway alone: it starts without its backends, says that it lives, and drains when it is told to
  local id
  id=$(podman run --detach --no-healthcheck "${locked_down[@]}" "${run_options[@]}" "$NAME:$VERSION" serve --port 50155)
  trap 'podman rm --force "$id" >/dev/null' EXIT
  for _ in $(seq 60); do
    podman logs "$id" 2>/dev/null | grep -q '^voicefsm gateway: ready' && break
    sleep 1
  done
  podman exec --env VOICEFSM_SERVER__PORT=50155 "$id" /opt/voicefsm/bin/python /opt/voicefsm/healthcheck.py || fail "the health check failed"
  podman exec "$id" /opt/voicefsm/bin/python -c 'import pathlib; pathlib.Path("/opt/x").write_text("x")' 2>/dev/null && fail "the root is writable"
  podman exec "$id" sh -c true 2>/dev/null && fail "there is a shell"
  podman stop --time 30 "$id" >/dev/null
  podman logs "$id" 2>/dev/null | grep -q '^voicefsm gateway: stopped' || fail "the gateway did not drain"
  local code
  code=$(podman inspect --format '{{.State.ExitCode}}' "$id")
  [ "$code" = 0 ] || fail "exit code $code"
  echo "container: the gateway starts, answers its health check, cannot write, and drains"
)

run_features() { # what a pod may have, and the image must bear
  GATEWAY_IMAGE="$NAME:$VERSION" EMBEDDED_IMAGE="$NAME:$VERSION-embedded" LOCKED_DOWN="${locked_down[*]} ${run_options[*]}" \
    PODMAN_OPTIONS="${podman_options[*]}" .venv/bin/python scripts/container_checks.py
}

sbom() { # of both, checked
  local target tag lock folder
  folder=$(mktemp -d)
  for target in gateway embedded; do
    tag=$VERSION lock=runtime
    [ "$target" = gateway ] || tag=$VERSION-$target lock=embedded
    podman save --quiet --format docker-archive --output "$folder/$target.tar" "$NAME:$tag"
    scripts/sbom.sh "docker-archive:$folder/$target.tar" "deploy/image/$lock.lock" "${OUT:-dist}/sbom-$target.cdx.json"
  done
  rm -rf "$folder"
}

run_kube() ( # what the overlay renders to, all of it, but for the name of the image
  local folder
  folder=$(mktemp -d)
  trap 'podman kube play --down "$folder/dev.yaml" >/dev/null 2>&1; podman volume prune --force >/dev/null; rm -rf "$folder"' EXIT
  "$(BIN=.venv/bin scripts/kubectl.sh --find)" kustomize deploy/kustomize/overlays/dev |
    sed -E "s#(image: ).*#\1$NAME:$VERSION-embedded#" >"$folder/dev.yaml"
  podman kube play "$folder/dev.yaml" >/dev/null
  podman inspect "$(podman ps --quiet --no-trunc --filter 'name=voicefsm-pod-.*gateway')" | .venv/bin/python scripts/container_kube.py "$folder/dev.yaml" ||
    fail "podman kube play"
)

case ${1:-all} in
  base) base ;;
  build) build ;;
  size) size ;;
  run) run_gateway && run_demo ;;
  features) run_features ;;
  sbom) sbom ;;
  kube) run_kube ;;
  all) build && size && run_gateway && run_demo ;;
  *) fail "usage: scripts/container.sh [base|build|size|run|features|sbom|kube|all]" ;;
esac
