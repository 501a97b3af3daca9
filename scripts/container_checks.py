"""The image, locked down, with what a pod may have: `scripts/container.sh features` runs it, with podman and both images.

A gateway of the one image talks to the engines of the other, over loopback. Its settings are a directory as Kubernetes mounts a
ConfigMap, its certificate, journals and Redis come as volumes, its root is read-only, and there is no shell in it. Callers converse
over TLS; the settings change while they do; one gateway is killed, and another goes on with the conversation, and drains.
"""  # noqa: INP001  # a script

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from voicefsm.client import (
    Access,
    Conversation,
    ConversationFailed,
    ReasonLost,
    ServerFull,
    ServerUnavailable,
    SessionOptions,
    State,
    StateChanged,
    TurnCompleted,
)

GATEWAY, ENGINES = os.environ["GATEWAY_IMAGE"], os.environ["EMBEDDED_IMAGE"]
PODMAN = ("podman", *os.environ.get("PODMAN_OPTIONS", "").split())
LOCKED_DOWN = os.environ["LOCKED_DOWN"].split()
START_S_MAX = 90
ANSWER_S_MAX = 60


# --- containers ---------------------------------------------------------------------------------------------------------------


def podman(*arguments: str, check: bool = True) -> str:
    """What podman prints. Raises `SystemExit` with what it complained about."""
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, encoding="utf-8", check=False)  # noqa: S603  # our own words
    if check and done.returncode:
        raise SystemExit(f"podman {' '.join(arguments)}: {done.stdout.strip()} {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def container(image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """One that runs until the block ends. The image's own health check is asked by hand: without systemd podman has no timers."""
    name = podman("run", "--detach", "--health-interval", "disable", *LOCKED_DOWN, *options, image, *command)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time", "0", name, check=False)


def logs(name: str) -> str:
    """What the container has said."""
    done = subprocess.run([*PODMAN, "logs", name], capture_output=True, encoding="utf-8", check=False)  # noqa: S603
    return done.stdout + done.stderr


def until(name: str, line: str) -> None:
    """Wait for the line. Raises `SystemExit` with the log when it does not come."""
    end = time.monotonic() + START_S_MAX
    while line not in logs(name):
        if time.monotonic() > end:
            raise SystemExit(f"no line {line!r}:\n{logs(name)}")
        time.sleep(0.5)


def free_port() -> int:
    """Of loopback, and of the containers, which share it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis on loopback; its URL."""
    port = free_port()
    command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


# --- what a pod has -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> None:
    """tls.crt and tls.key, as in a secret of cert-manager."""
    folder.mkdir()
    elliptic = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    names = ("-subj", "/CN=voicefsm", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"))
    subprocess.run(["openssl", "req", "-x509", *elliptic, *names, *files], check=True, capture_output=True)  # noqa: S603, S607
    own(folder)


def config_map(folder: Path, text: str) -> None:
    """Write the settings as the kubelet does: a new directory, and a link that is exchanged in one step."""
    version = Path(tempfile.mkdtemp(prefix="..v", dir=folder))
    (version / "voicefsm.toml").write_text(text, encoding="utf-8")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "voicefsm.toml").is_symlink():
        (folder / "voicefsm.toml").symlink_to("..data/voicefsm.toml")
    own(folder)


def own(folder: Path) -> None:
    """Whoever is 1000 in the container may read it, and nobody else."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1000, 1000, follow_symlinks=False)


def settings(riva: int, llm: int, sessions_max: int) -> str:
    """A file of a gateway."""
    return f"""
[server]
sessions_max = {sessions_max}
drain_ms_max = 60000
[failover]
asr_targets = ["127.0.0.1:{riva}"]
tts_targets = ["127.0.0.1:{riva}"]
[llm]
base_url = "http://127.0.0.1:{llm}/v1"
[auth]
reload_ms = 500
[log]
format = "json"
"""


class Pod:
    """What the gateways of this run have in common."""

    def __init__(self, folder: Path, redis_url: str, riva: int, llm: int) -> None:
        self.folder, self.riva, self.llm = folder, riva, llm
        certificate(folder / "tls")
        for name in ("config", "journals", "redis"):
            (folder / name).mkdir()
        (folder / "redis" / "url").write_text(redis_url, encoding="utf-8")
        own(folder / "redis")
        own(folder / "journals")
        self.tune(sessions_max=8)

    def tune(self, sessions_max: int) -> None:
        """Exchange the settings file."""
        config_map(self.folder / "config", settings(self.riva, self.llm, sessions_max))

    def options(self, port: int) -> tuple[str, ...]:
        """Volumes and variables, as the components have them."""
        mounts = {
            "config": "/etc/voicefsm:ro",
            "tls": "/run/secrets/voicefsm-tls:ro",
            "redis": "/run/secrets/voicefsm-redis:ro",
            "journals": "/var/journals:rw",
        }
        variables = {
            "CONFIG": "/etc/voicefsm/voicefsm.toml",
            "SERVER__PORT": str(port),
            "SERVER__HEALTH_PORT": str(free_port()),
            "TLS__CERTIFICATE_FILE": "/run/secrets/voicefsm-tls/tls.crt",
            "TLS__KEY_FILE": "/run/secrets/voicefsm-tls/tls.key",
            "RESUME__REDIS_URL_FILE": "/run/secrets/voicefsm-redis/url",
            "JOURNAL__DIR": "/var/journals",
        }
        volumes = [f"--volume={self.folder / name}:{place}" for name, place in mounts.items()]
        return (*volumes, *(f"--env=VOICEFSM_{name}={value}" for name, value in variables.items()))

    @contextlib.contextmanager
    def gateway(self, port: int) -> Iterator[str]:
        """A gateway that is ready."""
        with container(GATEWAY, "serve", options=self.options(port)) as name:
            until(name, "voicefsm gateway: ready")
            yield name

    @contextlib.asynccontextmanager
    async def caller(self, port: int, token: str = "") -> AsyncIterator[Conversation]:
        """Somebody who converses over TLS, and plays what comes."""
        access, wanted = Access(ca_file=str(self.folder / "tls" / "tls.crt")), SessionOptions(resume_token=token)
        async with Conversation.connect(f"127.0.0.1:{port}", wanted, access=access) as conversation:
            playing = asyncio.create_task(play(conversation))
            try:
                yield conversation
            finally:
                playing.cancel()


# --- callers --------------------------------------------------------------------------------------------------------------------


async def play(conversation: Conversation) -> None:
    """A loudspeaker."""
    while True:
        conversation.player.render(conversation.options.playout_format.sample_rate_hz // 50)
        await asyncio.sleep(0.02)


async def ask(conversation: Conversation, text: str) -> str:
    """What was heard of the answer."""
    await conversation.send_text(text)
    async with asyncio.timeout(ANSWER_S_MAX):
        async for event in conversation:
            if isinstance(event, TurnCompleted):
                return event.heard_text
    raise SystemExit("the call ended without an answer")


# --- the checks -----------------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """One line of the report."""
    print(f"container: {text}", flush=True)  # noqa: T201


async def tuned(pod: Pod, port: int, name: str) -> None:
    """A change of the ConfigMap counts for the next session, and cuts none."""
    async with pod.caller(port) as first:
        pod.tune(sessions_max=1)
        await asyncio.to_thread(until, name, "reloaded")
        try:
            async with pod.caller(port):
                raise SystemExit("the new limit does not count")
        except ServerFull:
            pass
        if not await ask(first, "What time is it?"):
            raise SystemExit("the session from before the change is gone")
    pod.tune(sessions_max=8)
    say("a mounted ConfigMap that is exchanged counts for the next session, and cuts none")


async def resumed(pod: Pod, ports: tuple[int, int], name: str) -> None:
    """A conversation whose container is killed goes on at the other."""
    async with contextlib.AsyncExitStack() as lost:
        first = await lost.enter_async_context(pod.caller(ports[0]))
        answer = await ask(first, "What time is it?")
        token = first.session.resume_token
        podman("kill", "--signal", "KILL", name)
        with contextlib.suppress(ConversationFailed):  # the call is lost with its server
            await lost.aclose()
    async with pod.caller(ports[1], token) as second:
        again = await ask(second, "What was the last thing you told me?")
    if answer.rstrip(".") not in again:
        raise SystemExit(f"the other gateway does not know {answer!r}: {again!r}")
    say(f"killed, and resumed at another over Redis: it knows that it had said {answer!r}")


async def drained(pod: Pod, port: int, name: str) -> None:
    """SIGTERM: the caller is told, the answer is spoken to its end, the exit code is 0."""
    heard = ""
    with contextlib.suppress(ServerUnavailable, ReasonLost):  # the server ends the call when the turn is over
        async with pod.caller(port) as conversation:
            await conversation.send_text("Please count to twenty.")
            async with asyncio.timeout(ANSWER_S_MAX):
                async for event in conversation:
                    if isinstance(event, StateChanged) and event.after is State.SPEAKING:
                        podman("kill", "--signal", "TERM", name)
                    if isinstance(event, TurnCompleted):
                        heard = event.heard_text
    code = podman("wait", name)
    if code != "0" or "twenty" not in heard or "voicefsm gateway: stopped" not in logs(name):
        raise SystemExit(f"exit code {code}, heard {heard!r}:\n{logs(name)}")
    say("SIGTERM in mid-answer: the answer was spoken to its end, exit code 0")


def replayed(pod: Pod) -> None:
    """Journals written in the container replay in it, order for order; that of the killed gateway as far as it goes."""
    run = ("run", "--rm", "--no-healthcheck", *LOCKED_DOWN, f"--volume={pod.folder / 'journals'}:/var/journals:ro", GATEWAY)
    journals = sorted((pod.folder / "journals").glob("*.jsonl"))
    told = [podman(*run, "replay", f"/var/journals/{journal.name}", check=False) for journal in journals]
    cut = sum("identical" in each and "incomplete" in each for each in told)
    if not told or any("identical" not in each for each in told) or cut != 1:
        raise SystemExit(f"journals: {told}")
    say(f"{len(told)} journals on a volume replay in the image without a difference, {cut} of them cut by the kill")


def refused() -> None:
    """A journal on the read-only root is refused before a port opens, in a sentence."""
    run = [*PODMAN, "run", "--rm", "--no-healthcheck", *LOCKED_DOWN, GATEWAY]
    serve = ["serve", "--port", "0", "--journal-dir", "/var/no"]
    done = subprocess.run([*run, *serve], capture_output=True, encoding="utf-8", check=False)  # noqa: S603
    if done.returncode == 0 or "No journal can be written into /var/no" not in done.stderr + done.stdout:
        raise SystemExit(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    say("a journal directory on the read-only root is refused in a sentence")


async def main(folder: Path) -> None:
    """All of them."""
    riva, llm, ports = free_port(), free_port(), (free_port(), free_port())
    refused()
    with redis(folder) as url, container(ENGINES, "embedded", "--riva-port", str(riva), "--llm-port", str(llm)) as engines:
        until(engines, "voicefsm embedded: ready")
        pod = Pod(folder, url, riva, llm)
        with pod.gateway(ports[0]) as first, pod.gateway(ports[1]) as second:
            for name in (first, second):
                podman("healthcheck", "run", name)
            say("the health check of the image passes beside TLS")
            async with pod.caller(ports[0]) as conversation:
                say(f"over TLS: {await ask(conversation, 'What time is it?')}")
            await tuned(pod, ports[0], first)
            await resumed(pod, ports, first)
            await drained(pod, ports[1], second)
        replayed(pod)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        asyncio.run(main(Path(temporary)))
