"""The backends that the contract suites run on: fakes in memory, and the real adapters on scripted and embedded servers."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import grpc
import pytest

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import InputMode, RivaSynthesizer, RivaTtsSettings
from voicefsm.errors import BackendError
from voicefsm.ports import Hypothesis, LanguageModel, Recognizer, Synthesizer
from voicefsm.scripted import (
    Action,
    Answer,
    AsrScript,
    At,
    Close,
    Drop,
    Fail,
    Fault,
    Line,
    Result,
    ScriptedLlm,
    ScriptedRiva,
    TtsScript,
)
from voicefsm.scripted.llm import ROLE, Step
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice, Heard
from voicefsm.values import Backend

# --- recognisers -------------------------------------------------------------------------------------------------------------

HearingScript = Sequence[tuple[int, Heard]]
"""(ms of audio, what is heard then)."""
RecognizerOn = Callable[[HearingScript], AbstractAsyncContextManager[Recognizer]]


@asynccontextmanager
async def fake_recognizer(script: HearingScript) -> AsyncGenerator[Recognizer]:
    yield FakeRecognizer(script)


@asynccontextmanager
async def riva_recognizer(script: HearingScript) -> AsyncGenerator[Recognizer]:
    lines: list[Line] = [(At(ms), _action(heard)) for ms, heard in script]
    async with ScriptedRiva(asr=AsrScript(lines)) as riva, aclosing(_recognizer_at(riva.target)) as recognizer:
        yield recognizer


def _recognizer_at(target: str) -> RivaRecognizer:
    return RivaRecognizer(RivaAsrSettings(), RivaChannelSettings(target=target))


def _action(heard: Heard) -> Action:
    if isinstance(heard, Hypothesis):
        words = tuple((word.text, word.start_ms, word.end_ms) for word in heard.words)
        return Answer((Result(heard.text, heard.is_final, heard.stability, words),))
    return Close() if heard is None else Fail(grpc.StatusCode.UNAVAILABLE, heard.message)


@pytest.fixture(params=[fake_recognizer, riva_recognizer])
def recognizer_on(request: pytest.FixtureRequest) -> RecognizerOn:
    """Makes a recogniser that hears what a script says."""
    return request.param  # type: ignore[no-any-return]


# --- synthesizers ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class SynthesizerWorld:
    """A synthesizer, and what its server noticed."""

    synthesizer: Synthesizer
    aborted: Callable[[], int]


SynthesizerOn = Callable[[int | None], AbstractAsyncContextManager[SynthesizerWorld]]
"""Takes the number of the text that fails, or None."""


@asynccontextmanager
async def fake_synthesizer(failing: int | None) -> AsyncGenerator[SynthesizerWorld]:
    errors = {} if failing is None else {failing: BackendError(Backend.TTS, "broken")}
    fake = FakeSynthesizer(FakeVoice(first_chunk_ms=1, chunk_period_ms=1), errors=errors)
    yield SynthesizerWorld(fake, lambda: fake.aborted)


def _riva_synthesizer(mode: InputMode, *, is_old: bool) -> SynthesizerOn:
    @asynccontextmanager
    async def make(failing: int | None) -> AsyncGenerator[SynthesizerWorld]:
        faults = {} if failing is None else {failing: Fault(Fail(grpc.StatusCode.UNKNOWN, "broken"))}
        script = TtsScript(is_old=is_old, chunk_period_ms=1, faults=faults)
        async with ScriptedRiva(tts=script) as riva:
            channel = RivaChannelSettings(target=riva.target)
            async with aclosing(RivaSynthesizer(RivaTtsSettings(input_mode=mode), channel)) as synthesizer:
                yield SynthesizerWorld(synthesizer, lambda: riva.tts.cancelled)

    return make


@pytest.fixture(params=["fake", "riva_streaming", "riva_unary", "riva_old"])
def synthesizer_on(request: pytest.FixtureRequest) -> SynthesizerOn:
    """Makes a synthesizer, one of whose texts may fail."""
    makers: dict[str, SynthesizerOn] = {
        "fake": fake_synthesizer,
        "riva_streaming": _riva_synthesizer(InputMode.AUTO, is_old=False),
        "riva_unary": _riva_synthesizer(InputMode.UNARY, is_old=False),
        "riva_old": _riva_synthesizer(InputMode.AUTO, is_old=True),
    }
    return makers[request.param]


# --- language models ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class ModelWorld:
    """A language model, and what its server noticed."""

    model: LanguageModel
    aborted: Callable[[], int]
    messages: Callable[[], list[list[tuple[str, str]]]]
    """(role, content) of each request so far."""


ModelOn = Callable[[Sequence[str], bool], AbstractAsyncContextManager[ModelWorld]]
"""Takes the pieces of the reply, and whether it fails after them."""


@asynccontextmanager
async def fake_model(pieces: Sequence[str], fails: bool) -> AsyncGenerator[ModelWorld]:
    fake = FakeLanguageModel([[*pieces, BackendError(Backend.LLM, "broken")] if fails else pieces], first_token_ms=1, token_ms=1)
    yield ModelWorld(fake, lambda: fake.aborted, lambda: [[(m.role, m.content) for m in r.messages] for r in fake.requests])


@asynccontextmanager
async def nim_model(pieces: Sequence[str], fails: bool) -> AsyncGenerator[ModelWorld]:
    end: list[Step] = [Drop()] if fails else [b"data: [DONE]\n\n"]
    llm = ScriptedLlm([[ROLE, *pieces, *end]], token_ms=1)
    async with llm, aclosing(_model_at(llm)) as model:
        yield ModelWorld(
            model, lambda: llm.aborted, lambda: [[(m["role"], m["content"]) for m in r.messages] for r in llm.requests]
        )


def _model_at(llm: ScriptedLlm) -> NimLanguageModel:
    return NimLanguageModel(LlmSettings(base_url=llm.base_url))


@pytest.fixture(params=[fake_model, nim_model])
def model_on(request: pytest.FixtureRequest) -> ModelOn:
    """Makes a language model that writes given pieces."""
    return request.param  # type: ignore[no-any-return]


# --- waiting -----------------------------------------------------------------------------------------------------------------


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something on the other side of a socket."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], bool]], object]:
    return until


# --- the embedded servers ----------------------------------------------------------------------------------------------------

EMBEDDED_NEEDS = ("pocketsphinx", "espeakng_loader", "soxr")
SERVE_EMBEDDED = """
import asyncio
from voicefsm.embedded import EmbeddedSettings, serve
asyncio.run(serve(EmbeddedSettings(riva_port=0, llm_port=0)))
"""


@pytest.fixture(scope="session")
def embedded_addresses() -> Iterator[tuple[str, str]]:
    """HOST:PORT of the speech server and base URL of the model server, in a process of their own."""
    missing = [name for name in EMBEDDED_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the embedded engines need {', '.join(missing)}: pip install '.[embedded]'")
    with subprocess.Popen([sys.executable, "-c", SERVE_EMBEDDED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        try:
            assert lines[2] == "voicefsm embedded: ready\n"
            yield lines[0].split()[-1], lines[1].split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=20)
