"""Several servers behind one port."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from voicefsm.errors import BackendError, Crowded
from voicefsm.ports import GenerationRequest, LanguageModel, Message, RecognitionRequest, SynthesisRequest
from voicefsm.runtime.breaker import BreakerSettings, BreakerState
from voicefsm.runtime.failover import FailoverLanguageModel, FailoverRecognizer, FailoverSynthesizer, Servers
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer
from voicefsm.values import Backend

pytestmark = pytest.mark.looptime

ASKED = GenerationRequest([Message("user", "hello")], temperature=0.0, tokens_max=100)
SETTINGS = BreakerSettings(failures_max=2, rest_ms_min=500, rest_ms_max=4000)
GONE = BackendError(Backend.LLM, "Gone.")


class World:
    """Some models and a clock."""

    def __init__(self, models: Mapping[str, FakeLanguageModel]) -> None:
        self.now_ms = 0
        self.models = models
        self.servers: Servers[LanguageModel] = Servers(Backend.LLM, models, SETTINGS, lambda: self.now_ms)
        self.port = FailoverLanguageModel(self.servers)

    async def ask(self) -> str:
        try:
            return "".join([str(piece) async for piece in self.port.stream(ASKED)])
        except BackendError as error:
            return f"{error.message} {error.retry_after_ms}"

    def asked(self) -> dict[str, int]:
        return {name: len(model.requests) for name, model in self.models.items()}


async def test_the_first_is_asked_while_it_is_well() -> None:
    """Otherwise the second server, which is there for bad days, has half of the load."""
    world = World({"a": FakeLanguageModel(["A."]), "b": FakeLanguageModel(["B."])})
    assert [await world.ask() for _ in range(3)] == ["A."] * 3
    assert world.asked() == {"a": 3, "b": 0}


async def test_our_own_limit_is_nothing_against_a_server() -> None:
    """Otherwise too many sessions at a time make the server look broken, and everybody is refused for a while."""
    world = World({"a": FakeLanguageModel([[Crowded(Backend.LLM, "Full.")]] * 5)})
    assert [await world.ask() for _ in range(5)] == ["Full. 0"] * 5
    assert world.servers.all[0].breaker.state(0) is BreakerState.CLOSED


async def test_the_next_call_goes_to_the_second_and_back_when_the_first_is_well() -> None:
    """Otherwise one dead server costs every session an answer; or the first is never used again."""
    world = World({"a": FakeLanguageModel([[GONE], [GONE], "A."]), "b": FakeLanguageModel(["B."])})
    assert await world.ask() == "Gone. 0", "what fails is told: nothing is repeated behind the machine's back"
    assert await world.ask() == "B."
    world.now_ms = 500
    assert await world.ask() == "Gone. 0", "a probe"
    assert await world.ask() == "B."
    world.now_ms = 1499
    assert await world.ask() == "B."
    world.now_ms = 1500
    assert [await world.ask() for _ in range(2)] == ["A."] * 2


async def test_a_server_alone_is_left_alone_for_a_while() -> None:
    """Otherwise a hundred sessions ask a dead server again and again; or nobody says how long to wait."""
    world = World({"a": FakeLanguageModel([[GONE], [GONE], "A."])})
    assert [await world.ask() for _ in range(2)] == ["Gone. 0"] * 2
    world.now_ms = 100
    assert await world.ask() == "The LLM server has failed and is left alone for 400 ms: Gone. 400"
    assert world.asked() == {"a": 2}
    world.now_ms = 500
    assert await world.ask() == "A."


async def test_a_request_that_is_refused_for_good_says_nothing_about_the_server() -> None:
    """Otherwise one client with a bad setting takes the backend from all the others."""
    refusal = BackendError(Backend.LLM, "No such model.", retryable=False)
    world = World({"a": FakeLanguageModel([[refusal]])})
    assert [await world.ask() for _ in range(9)] == ["No such model. 0"] * 9


async def test_an_answer_that_was_begun_makes_up_for_failures_before() -> None:
    """Otherwise a server that fails now and then is taken for dead."""
    world = World({"a": FakeLanguageModel([[GONE], ["Well. ", GONE], ["Well. ", GONE], "A."])})
    assert [await world.ask() for _ in range(4)] == ["Gone. 0", "Gone. 0", "Gone. 0", "A."]


async def test_a_call_that_is_cancelled_says_nothing() -> None:
    """Otherwise users who interrupt a lot close a server for everybody."""
    world = World({"a": FakeLanguageModel([["A. ", "B."]])})
    for _ in range(5):
        stream = world.port.stream(ASKED)
        await anext(stream)
        await stream.aclose()
    assert world.servers.all[0].breaker.wait_ms(0) == 0


async def test_recognisers_and_voices_fail_over_too() -> None:
    """Otherwise only the model has a second server."""
    dead = BackendError(Backend.TTS, "Mute.")
    voices = {"a": FakeSynthesizer(errors={0: dead}), "b": FakeSynthesizer()}
    synthesizer = FailoverSynthesizer(Servers(Backend.TTS, voices, SETTINGS, lambda: 0))

    async def speak() -> int:
        async with synthesizer.open(SynthesisRequest("en-US", "", 1000)) as stream:
            stream.speak(0, "Hello")
            stream.finish()
            return sum([len(audio.samples) async for audio in stream])

    with pytest.raises(BackendError, match="Mute"):
        await speak()
    assert await speak() == 300
    assert await synthesizer.voices() == {}
    recognisers = {"a": FakeRecognizer(()), "b": FakeRecognizer(())}
    recognizer = FailoverRecognizer(Servers(Backend.ASR, recognisers, SETTINGS, lambda: 0))
    with pytest.raises(BackendError):
        async with recognizer.open(RecognitionRequest("en-US", 500)):
            raise BackendError(Backend.ASR, "Gone.")
    async with recognizer.open(RecognitionRequest("en-US", 500)):
        assert [len(one.streams) for one in recognisers.values()] == [1, 1]
