"""The embedded recogniser, killed in mid-sentence as a real process: how many more words it gets wrong is told.

It is no scripted one: what it makes of a sentence depends on where its utterance begins, so that a few words may differ. What is
asserted is that no sentence is lost; the difference is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.processes import Process, free_port, now_ms
from voicefsm.client import ClientSettings, Conversation, SessionOptions, Transcript
from voicefsm.demo.measure import word_error_rate
from voicefsm.demo.voice import choose_voices, speak
from voicefsm.processes import EMBEDDED_LIKES, EMBEDDED_READY

SENTENCES = (
    "the weather is very nice in the park today",
    "please tell me a long story about the sea",
    "what is the best way to the old station",
    "we will meet again in the morning at nine",
    "the children are playing with a green ball",
    "can you read me the news of the week",
    "there is a little house behind the hill",
    "my brother wants to buy a new black car",
    "how many people live in the big city",
    "the train was late because of the snow",
)
RATE_HZ = 16000
FRAME_MS = 20
FRAME_BYTES = 2 * RATE_HZ * FRAME_MS // 1000
INTO_IT = 0.4
"""Where the recogniser dies: this share of the sentence was spoken."""
QUIET_MS = 3000
"""So long after the last word nothing more comes."""
HEARD_MS_MAX = 60_000
LOST_RATE = 0.9
"""Of a sentence of which as many words are wrong, nothing was heard."""

Blow = Callable[[], Awaitable[None]]


async def spoken(target: str) -> list[bytes]:
    """The sentences, in the voice that the recogniser understands best."""
    voices = await choose_voices(target, "", "")
    sounds = await speak(target, voices.user, SENTENCES)
    return [sounds[sentence].tobytes() for sentence in SENTENCES]


async def transcript(gateway: str, pcm: bytes, blow: Blow | None) -> str:
    """What becomes of a sentence, spoken at its pace; the blow falls in its middle."""
    options = SessionOptions(client_echo_cancellation=True, push_to_talk=True)  # no turn ends before all is heard
    async with Conversation.connect(gateway, options, settings=ClientSettings(connect_ms_max=30_000)) as conversation:
        heard: list[tuple[float, str]] = []
        listening = asyncio.create_task(_listen(conversation, heard))
        speaking = asyncio.create_task(_speak(conversation, bytes(FRAME_BYTES * 25) + pcm, blow))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARD_MS_MAX / 1000):
                    while not heard or now_ms() - heard[-1][0] < QUIET_MS:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
        finally:
            for task in (listening, speaking):
                task.cancel()
            await asyncio.wait([listening, speaking])
        return " ".join(text for _, text in heard)


async def _listen(conversation: Conversation, heard: list[tuple[float, str]]) -> None:
    async for event in conversation:
        if isinstance(event, Transcript) and event.is_final and event.text:
            heard.append((now_ms(), event.text))  # noqa: PERF401 (others read it meanwhile)


async def _speak(conversation: Conversation, pcm: bytes, blow: Blow | None) -> None:
    async with asyncio.TaskGroup() as beside:
        due_ms, at = now_ms(), 0
        while True:
            await conversation.send_audio(pcm[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
            at += FRAME_BYTES
            if blow is not None and at >= INTO_IT * len(pcm):
                beside.create_task(_strike(blow))
                blow = None
            due_ms += FRAME_MS
            await asyncio.sleep(max(0.0, due_ms - now_ms()) / 1000)


async def _strike(blow: Blow) -> None:
    await blow()


@pytest.mark.all_faults
async def test_embedded_recogniser_killed_in_mid_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise nobody knows what an outage costs with a recogniser whose words depend on more than its samples."""
    riva_port, llm_port, gateway_port = free_port(), free_port(), free_port()
    target, gateway_at = f"127.0.0.1:{riva_port}", f"127.0.0.1:{gateway_port}"
    ports = ("--riva-port", str(riva_port), "--llm-port", str(llm_port))
    embedded = Process(tmp_path / "embedded.log", "-m", "voicefsm", "embedded", *ports)
    settings = {
        "server.port": gateway_port,
        "riva.target": target,
        "llm.base_url": f"http://127.0.0.1:{llm_port}/v1",
        "log.level": "warning",
    } | {f"{section}.{name}": value for section, liked in EMBEDDED_LIKES.items() for name, value in liked.items()}
    gateway = Process(tmp_path / "gateway.log", "-m", "voicefsm", "serve")
    kills: list[float] = []

    async def kill() -> None:
        await embedded.end()
        kills.append(now_ms())
        await embedded.start(EMBEDDED_READY)

    try:
        await embedded.start(EMBEDDED_READY)
        await gateway.start("gateway: ready", *(part for name in settings for part in ("--set", f"{name}={settings[name]}")))
        sounds = await spoken(target)
        rates = []
        for sentence, pcm in zip(SENTENCES, sounds, strict=True):
            texts = [await transcript(gateway_at, pcm, blow) for blow in (None, kill)]
            rates.append([word_error_rate(sentence, text) for text in texts])
            with capsys.disabled():
                print("", sentence, *(f"{rate:4.0%} {text}" for rate, text in zip(rates[-1], texts, strict=True)), sep="\n  ")
    finally:
        await gateway.end()
        await embedded.end()
    without, with_a_kill = (sum(rate[column] for rate in rates) / len(rates) for column in (0, 1))
    with capsys.disabled():
        print(
            f"embedded recogniser killed in mid-sentence, {len(rates)} sentences: {without:.1%} of the words wrong without a kill, "
            f"{with_a_kill:.1%} with one, a difference of {100 * (with_a_kill - without):+.1f} points"
        )
    assert len(kills) == len(SENTENCES)
    assert [rate for rate in rates if rate[0] < LOST_RATE <= rate[1]] == [], "a whole sentence was lost"
