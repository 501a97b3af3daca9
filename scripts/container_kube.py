"""The dev overlay, played by podman: `podman inspect CONTAINER | container_kube.py RENDER`.

Lists what podman left out of it, sees that the rest is locked down, and asks a question over the port.
"""  # noqa: INP001  # a script

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from voicefsm.client import Conversation, ServerUnavailable, TurnCompleted

PLAYED = {"Deployment", "ConfigMap"}
START_S_MAX = 90
ANSWER_S_MAX = 60


def say(text: str) -> None:
    """One line of the report."""
    print(f"container: {text}", flush=True)  # noqa: T201


def left_out(wanted: list[dict[str, Any]], told: dict[str, Any]) -> list[str]:
    """What the render says, and the container does not have."""
    (pod,) = [each["spec"]["template"]["spec"] for each in wanted if each["kind"] == "Deployment"]
    (container,) = pod["containers"]
    missing = [f"kind {kind}" for kind in sorted({each["kind"] for each in wanted} - PLAYED)]
    if not told["Config"].get("Healthcheck", {}):
        missing += [
            f"{probe} (gRPC)" for probe in ("startupProbe", "readinessProbe", "livenessProbe") if "grpc" in container[probe]
        ]
    if told["Config"]["StopTimeout"] != pod["terminationGracePeriodSeconds"]:
        missing.append(f"terminationGracePeriodSeconds {pod['terminationGracePeriodSeconds']}, has {told['Config']['StopTimeout']}")
    medium = {mount["Destination"]: mount["Type"] for mount in told["Mounts"]}
    missing += [f"emptyDir in memory: {place} is a {kind}" for place, kind in medium.items() if place == "/tmp" and kind != "tmpfs"]  # noqa: S108
    return [*missing, "lifecycle.preStop"]


def kept(told: dict[str, Any]) -> str:
    """What podman did as it was told. Raises `SystemExit` when the container is not locked down."""
    host, config = told["HostConfig"], told["Config"]
    if not host["ReadonlyRootfs"] or told["EffectiveCaps"] or "no-new-privileges" not in host["SecurityOpt"]:
        raise SystemExit(f"not locked down: {host}")
    return f"user {config['User']}, read-only root, no capability, no new privileges, {host['Memory'] >> 20} MiB of memory"


async def play(conversation: Conversation) -> None:
    """A loudspeaker."""
    while True:
        conversation.player.render(conversation.options.playout_format.sample_rate_hz // 50)
        await asyncio.sleep(0.02)


async def answer(target: str) -> str:
    """What is heard of the answer to a question. The engines load for some seconds first."""
    async with asyncio.timeout(START_S_MAX + ANSWER_S_MAX):
        while True:
            try:
                async with Conversation.connect(target) as conversation:
                    playing = asyncio.create_task(play(conversation))
                    try:
                        await conversation.send_text("What time is it?")
                        async for event in conversation:
                            if isinstance(event, TurnCompleted):
                                return event.heard_text
                    finally:
                        playing.cancel()
            except ServerUnavailable:
                await asyncio.sleep(1)


def main(render: str) -> None:
    """List, and ask."""
    (told,) = json.load(sys.stdin)
    wanted = list(yaml.safe_load_all(Path(render).read_text(encoding="utf-8")))
    say(f"podman leaves out: {'; '.join(left_out(wanted, told))}")
    say(f"podman keeps: {kept(told)}")
    (host_port,) = (each["HostPort"] for each in told["NetworkSettings"]["Ports"]["50055/tcp"])
    say(f"podman kube play answers: {asyncio.run(answer(f'127.0.0.1:{host_port}'))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
