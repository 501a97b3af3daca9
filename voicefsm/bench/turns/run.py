"""Items through gateways: each item gets a gateway, backends and a client of its own, over real gRPC, many at a time.

Time is virtual (clock.py), so a run takes as long as the work in it. `jobs` processes share the items; within one, `calls` go on
at a time. What comes out is a directory in the layout of the set: `<id>/output.wav`, what the user heard; `<id>/call.json`, what
the server told the client; `<id>/journal.jsonl`, why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from voicefsm.bench.turns import clock, room
from voicefsm.bench.turns.backends import PACES, Cast, Ear, heard_by
from voicefsm.bench.turns.stimuli import OUTPUT, Item, Stimuli, load, write_wav
from voicefsm.bench.turns.telephone import Telephone
from voicefsm.client import Conversation, ConversationFailed, SessionOptions
from voicefsm.scripted import ListeningAsr, ScriptedLlm, ScriptedRiva

VOICE = "voice.wav"
"""In a room: what the user heard, where `OUTPUT` has it in tones."""
CALL = "call.json"
JOURNAL = "journal.jsonl"
CALLS_MAX = 12
"""Calls at a time in one process, unless told otherwise."""
LANGUAGE = "en-US"


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """Where the backends of a call listen, and where its journal belongs."""

    riva: str
    """HOST:PORT."""
    llm: str
    """The base URL."""
    journals: Path


class OpenGateway(Protocol):
    """Makes a gateway that runs until left, and yields its port. It must be a function of a module: it travels to processes."""

    def __call__(self, addresses: Addresses) -> AbstractAsyncContextManager[int]:
        """A gateway with these backends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """How a set is played."""

    ear: Ear = Ear.WORDS
    first_token_ms: int = 200
    """The model's time to its first token …"""
    token_ms: int = 20
    """… and between two."""
    first_audio_ms: int = 150
    """The voice's time to the first audio of each text."""
    is_virtual: bool = True
    """Time jumps over waiting; else it passes as it does."""
    client_echo_cancellation: bool = False
    """The client says that its microphone hears no echo."""
    in_room: bool = False
    """The microphone also hears the loudspeaker."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What one process has to do."""

    root: Path
    ids: Sequence[str]
    out: Path
    manner: Manner
    calls: int
    gateway: OpenGateway


def run(
    stimuli: Stimuli,
    items: Sequence[Item],
    out: Path,
    gateway: OpenGateway,
    manner: Manner,
    *,
    jobs: int = 1,
    calls: int = CALLS_MAX,
) -> dict[str, str]:
    """Play items; returns what went wrong, by id."""
    ids = [item.id for item in items]
    shares = [Job(stimuli.root, ids[k::jobs], out, manner, calls, gateway) for k in range(jobs) if ids[k::jobs]]
    if len(shares) <= 1:
        return {id_: problem for share in shares for id_, problem in work(share).items()}
    problems: dict[str, str] = {}
    with ProcessPoolExecutor(len(shares), mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(work, share) for share in shares]):
            problems |= done.result()
    return problems


def work(job: Job) -> dict[str, str]:
    """One process's share."""
    stimuli = load(job.root)
    wanted = set(job.ids)
    items = [item for item in stimuli.items if item.id in wanted]
    items.sort(key=lambda item: -item.duration_s)  # the long ones first, so that they are not alone at the end
    return clock.run(_play_all(stimuli, items, job), is_virtual=job.manner.is_virtual)


async def _play_all(stimuli: Stimuli, items: Sequence[Item], job: Job) -> dict[str, str]:
    free = asyncio.Semaphore(job.calls)
    problems: dict[str, str] = {}

    async def one(item: Item) -> None:
        async with free:
            try:
                await play(stimuli, item, _directory(job.out / item.id), job.gateway, job.manner)
            except ConversationFailed as failure:
                problems[item.id] = str(failure)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item), name=item.id)
    return problems


def _directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


async def play(stimuli: Stimuli, item: Item, out: Path, gateway: OpenGateway, manner: Manner) -> Telephone:
    """One call; what it leaves goes into `out`. Raises `ConversationFailed` when the server ends it."""
    cast = Cast(room.spoken if manner.in_room else None)
    telephone = Telephone(stimuli.audio(item), room.room_of(item.id).process if manner.in_room else None)
    asr = ListeningAsr(heard_by(manner.ear, item), PACES[manner.ear], telephone.now_ms)
    options = SessionOptions(language_code=LANGUAGE, client_echo_cancellation=manner.client_echo_cancellation)
    llm = ScriptedLlm([cast.answer], first_token_ms=manner.first_token_ms, token_ms=manner.token_ms)
    try:
        async with ScriptedRiva(asr=asr, tts=cast.script(manner.first_audio_ms)) as riva, llm:
            addresses = Addresses(riva.target, llm.base_url, out)
            async with gateway(addresses) as port, Conversation.connect(f"127.0.0.1:{port}", options) as conversation:
                await telephone.hold(conversation)
    finally:
        _keep(telephone, out, manner)
    return telephone


def _keep(telephone: Telephone, out: Path, manner: Manner) -> None:
    """Write what there is, the journal under a name that does not change from run to run."""
    rendered = telephone.rendered
    if manner.in_room:
        write_wav(out / VOICE, rendered)
        rendered = room.in_tones(telephone.spans, telephone.ended, len(rendered))
    write_wav(out / OUTPUT, rendered)
    (out / CALL).write_text(json.dumps(telephone.log()))
    for journal in sorted(out.glob("*.jsonl")):
        if journal.name != JOURNAL:
            journal.replace(out / JOURNAL)
