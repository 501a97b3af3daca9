#!/usr/bin/env bash
# Builds both images with buildah, and holds conversations in them, locked down: read-only root, user 1000, no capabilities, no new privileges.
# usage: scripts/container.sh [base|build|run|kube|all]
#   kube: `podman kube play` of what the overlay dev renders to, and a question to it over the port; needs .venv (make setup, make deploy).
#
# BASE=... is the base image; on a host that reaches no registry, one made here: scripts/container.sh base (Debian's Python, with debootstrap,
# as root). PODMAN_OPTIONS and RUN_OPTIONS are for hosts where a container cannot be started otherwise; so are the defaults of BUILD_OPTIONS.
# Written and run with buildah 1.28 and podman 4.3 (Debian 12).
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=${BASE:-docker.io/library/python:3.11-slim-bookworm}
NAME=${NAME:-localhost/voicefsm}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
read -ra build_options <<<"${BUILD_OPTIONS:---isolation chroot --network host}"
read -ra podman_options <<<"${PODMAN_OPTIONS:-}"
read -ra run_options <<<"${RUN_OPTIONS:-}"
locked_down=(--network host --read-only --tmpfs /tmp:rw,size=256m --user 1000 --cap-drop=ALL --security-opt no-new-privileges)

podman() { command podman "${podman_options[@]}" "$@"; }
fail() {
  echo "container: $*" >&2
  exit 1
}

base() { # a base image from Debian's packages alone
  local root
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root"
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
  local target tag
  for target in gateway embedded; do
    tag=$VERSION
    [ "$target" = gateway ] || tag=$VERSION-$target
    buildah build "${build_options[@]}" --layers --format docker --build-arg PYTHON_IMAGE="$BASE" --build-arg VERSION="$VERSION" \
      --build-arg REVISION="$(git rev-parse HEAD)" --target "$target" --tag "$NAME:$tag" .
  done
}

run_demo() { # the whole conversation with barge-in, inside
  podman run --rm --no-healthcheck "${locked_down[@]}" "${run_options[@]}" "$NAME:$VERSION-embedded" demo --out /tmp/demo-out
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
  podman stop --time 30 "$id" >/dev/null
  podman logs "$id" 2>/dev/null | grep -q '^voicefsm gateway: stopped' || fail "the gateway did not drain"
  local code
  code=$(podman inspect --format '{{.State.ExitCode}}' "$id")
  [ "$code" = 0 ] || fail "exit code $code"
  echo "container: the gateway starts, answers its health check, cannot write, and drains"
)

run_kube() ( # podman 4.3 ignores gRPC probes and preStop, and the kinds that it does not know; on the host's network it refuses `ports`
  local folder
  folder=$(mktemp -d)
  .venv/bin/python - "$folder/dev.yaml" "$NAME:$VERSION-embedded" <<'PY'
import subprocess, sys
import yaml
kubectl = subprocess.run(["scripts/kubectl.sh"], capture_output=True, check=True, text=True).stdout.strip()
text = subprocess.run([kubectl, "kustomize", "deploy/kustomize/overlays/dev"], capture_output=True, check=True, text=True).stdout
objects = list(yaml.safe_load_all(text))
for pod in (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"):
    for container in pod["containers"]:
        container["image"] = sys.argv[2]
        del container["ports"]
yaml.safe_dump_all(objects, open(sys.argv[1], "w"))
PY
  podman kube play --network host "$folder/dev.yaml"
  trap 'podman kube play --down "$folder/dev.yaml" >/dev/null; rm -rf "$folder"' EXIT
  .venv/bin/python - <<'PY' || fail "no answer"
import asyncio
from voicefsm.client import Conversation, TurnCompleted

async def play(conversation):
    while True:
        conversation.player.render(conversation.options.playout_format.sample_rate_hz // 50)
        await asyncio.sleep(0.02)

async def ask():
    for attempt in range(60):  # the engines load for some seconds
        try:
            async with asyncio.timeout(30), Conversation.connect("127.0.0.1:50055") as conversation:
                playing = asyncio.create_task(play(conversation))
                try:
                    await conversation.send_text("What time is it?")
                    async for event in conversation:
                        if isinstance(event, TurnCompleted):
                            return event.heard_text
                finally:
                    playing.cancel()
        except Exception as error:
            problem = error
            await asyncio.sleep(1)
    raise problem

print("container: podman kube play answers:", asyncio.run(ask()))
PY
)

case ${1:-all} in
  base) base ;;
  build) build ;;
  run) run_gateway && run_demo ;;
  kube) run_kube ;;
  all) build && run_gateway && run_demo ;;
  *) fail "usage: scripts/container.sh [base|build|run|kube|all]" ;;
esac
