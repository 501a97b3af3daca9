"""A: speech recognition.

What is said to the recogniser was spoken by the server's own voice. Audio goes out as fast as the server takes it, but for A26.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_audio_pb2 as raudio

from voicefsm.calls import half_close, write
from voicefsm.conformance.item import BY_ITSELF, LONG_MS, OPERATOR, Check, Failed, NotSupported, cannot_be_seen
from voicefsm.conformance.targets import SPEECH_RATE_HZ, Targets

TEXT = "Tell me a long story please."
BYTES_PER_MS = 2 * SPEECH_RATE_HZ // 1000
MESSAGE_MS = 80
STOP_MS, FIRST_PASS_MS = 800, 240
PAUSE_MS = 1600
"""Ends an utterance, by twice the silence that is asked for."""
CHUNK_MS_MAX = 1200
"""No streaming model is known to work on longer chunks."""
QUIET_MS = 9600
"""Silence whose answers are counted."""
SETTLE_S = 1.0
"""A server that says nothing for so long has said what it has to say."""
SLACK = 3
"""So many answers more or less are no difference: the rest of a chunk, a last final."""
TWICE = 2
ANSWER_S_MAX = 10.0
"""How long a final that was asked for may take."""
IDLE_S_MIN = 65.0
"""Servers give a stream up after a minute."""
MUTED_S = 10.0
"""How often the gateway sends silence for a muted client, at the least."""
NO_LANGUAGE = "xx-XX"


# --- talking -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """All that came back on a stream."""

    responses: Sequence[rasr.StreamingRecognizeResponse]
    before_half_close: int
    """How many of them had come when the client had sent its last message and a moment more."""

    @property
    def results(self) -> list[rasr.StreamingRecognitionResult]:
        """All results."""
        return [result for response in self.responses for result in response.results if result.alternatives]

    @property
    def finals(self) -> list[rasr.StreamingRecognitionResult]:
        """Those that are final."""
        return [result for result in self.results if result.is_final]

    @property
    def texts(self) -> list[str]:
        """What the finals say, those that say something."""
        return [text for result in self.finals if (text := result.alternatives[0].transcript.strip())]

    @property
    def unasked(self) -> list[str]:
        """Finals with words from before the client half-closed."""
        return Heard(self.responses[: self.before_half_close], 0).texts


def silence(ms: int) -> bytes:
    """Digital silence."""
    return bytes(BYTES_PER_MS * ms)


def pieces(audio: bytes, ms: int = MESSAGE_MS) -> Iterator[bytes]:
    """Audio in messages."""
    return (audio[at : at + BYTES_PER_MS * ms] for at in range(0, len(audio), BYTES_PER_MS * ms))


def configuration(targets: Targets, *, interim: bool = True, id_: str = "", **fields: Any) -> rasr.StreamingRecognizeRequest:
    """The first message; `fields` change its `RecognitionConfig`."""
    config = rasr.RecognitionConfig(
        encoding=raudio.AudioEncoding.LINEAR_PCM,
        sample_rate_hertz=SPEECH_RATE_HZ,
        audio_channel_count=1,
        language_code=targets.riva.language_code,
        model=targets.riva.asr.model,
        enable_word_time_offsets=True,
        endpointing_config=rasr.EndpointingConfig(stop_history=STOP_MS, stop_history_eou=FIRST_PASS_MS),
    )
    config.MergeFrom(rasr.RecognitionConfig(**fields))
    request = rasr.StreamingRecognizeRequest(
        streaming_config=rasr.StreamingRecognitionConfig(config=config, interim_results=interim)
    )
    if id_:
        request.id.value = id_
    return request


class Talk:
    """One stream, and what has come back so far."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call
        self._responses: list[rasr.StreamingRecognizeResponse] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self._responses.append(response)
                self._more.set()
        finally:
            self._more.set()

    async def say(self, audio: bytes, *, message_ms: int = MESSAGE_MS, is_live: bool = False) -> None:
        """Send audio, at the pace at which it was spoken if need be."""
        for piece in pieces(audio, message_ms):
            await write(self._call, rasr.StreamingRecognizeRequest(audio_content=piece))
            if is_live:
                await asyncio.sleep(message_ms / 1000)

    async def force(self) -> None:
        """Ask for a final, with a little silence."""
        request = rasr.StreamingRecognizeRequest(audio_content=silence(MESSAGE_MS), runtime_config={"force_eou": "true"})
        await write(self._call, request)

    async def finals(self, count: int) -> bool:
        """Wait for so many finals with words; False if they do not come."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                while len(self.heard.texts) < count and not self._reading.done():
                    await self._next()
        except TimeoutError:
            return False
        return len(self.heard.texts) >= count

    async def settle(self) -> None:
        """Wait until nothing more comes."""
        with contextlib.suppress(TimeoutError):
            while not self._reading.done():
                async with asyncio.timeout(SETTLE_S):
                    await self._next()

    async def _next(self) -> None:
        """Something comes, or it is over."""
        self._more.clear()
        await self._more.wait()

    @property
    def heard(self) -> Heard:
        """So far."""
        return Heard(self._responses, len(self._responses))

    async def end(self) -> Heard:
        """Half-close, and wait for the end. Raises the status of a call that failed."""
        count = len(self._responses)
        await half_close(self._call)
        await self._reading
        return Heard(self._responses, count)

    def leave(self) -> None:
        """Nobody reads any more."""
        self._reading.cancel()
        self._call.cancel()


@asynccontextmanager
async def talk(targets: Targets, first: rasr.StreamingRecognizeRequest) -> AsyncGenerator[Talk]:
    """A configured stream."""
    call = targets.riva.recognition().StreamingRecognize()
    await write(call, first)
    one = Talk(call)
    try:
        yield one
    finally:
        one.leave()


async def hear(
    targets: Targets,
    audio: bytes,
    *,
    message_ms: int = MESSAGE_MS,
    is_live: bool = False,
    waits: bool = False,
    first: rasr.StreamingRecognizeRequest | None = None,
) -> Heard:
    """All that a server says to some audio; with `waits`, what it says by itself before the half-close is told apart."""
    async with talk(targets, first or configuration(targets)) as stream:
        await stream.say(audio, message_ms=message_ms, is_live=is_live)
        if waits:
            await stream.finals(1)  # a busy server takes a while
            await stream.settle()
        return await stream.end()


async def utterance(targets: Targets) -> bytes:
    """The text and the silence that ends it, with a little before."""
    return silence(400) + await targets.riva.say(TEXT) + silence(PAUSE_MS)


async def refused(call: Callable[[], Awaitable[object]], what: str) -> grpc.aio.AioRpcError:
    """The status with which something is refused. Raises `Failed` when it is not."""
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        return error
    raise Failed(f"accepted {what}")


def _insist_on_final(heard: Heard) -> None:
    if not heard.texts:
        raise NotSupported("no final with words came: see A18 and A22")


# --- the items ---------------------------------------------------------------------------------------------------------------


async def audio_first(targets: Targets) -> str:
    """A1. Audio before the configuration is refused."""
    requests = iter([rasr.StreamingRecognizeRequest(audio_content=bytes(320))])
    return await _refused_as_malformed(targets, requests)


async def no_message(targets: Targets) -> str:
    """A2. A stream without a message is refused."""
    return await _refused_as_malformed(targets, iter(()))


async def _refused_as_malformed(targets: Targets, requests: Iterator[rasr.StreamingRecognizeRequest]) -> str:
    try:
        async for _ in targets.riva.recognition().StreamingRecognize(requests):
            pass
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return f"INVALID_ARGUMENT: {error.details()}"
        raise
    raise Failed("accepted with OK")


async def second_configuration(targets: Targets) -> str:
    """A3. A second configuration is refused."""

    async def send() -> None:
        requests = iter([configuration(targets), configuration(targets)])
        async for _ in targets.riva.recognition().StreamingRecognize(requests):
            pass

    error = await refused(send, "a second configuration")
    return f"{error.code().name}: {error.details()}"


async def unknown_language(targets: Targets) -> str:
    """A4. A language it does not have is refused, for good."""
    error = await refused(
        lambda: hear(targets, silence(800), first=configuration(targets, language_code=NO_LANGUAGE)), f"the language {NO_LANGUAGE}"
    )
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        raise error
    return f"{error.code().name}: {error.details()}"


async def unknown_formats(targets: Targets) -> str:
    """A5. Stereo and impossible rates are refused."""
    for what, fields in (("stereo", {"audio_channel_count": 2}), ("a rate of 100 Hz", {"sample_rate_hertz": 100})):

        async def send(fields: dict[str, Any] = fields) -> None:
            await hear(targets, silence(800), first=configuration(targets, **fields))

        error = await refused(send, what)
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise Failed(f"answers {what} with {error.code().name}")
    return "INVALID_ARGUMENT"


async def heartbeat(targets: Targets) -> str:
    """A6. Each chunk of the server's is answered, also in silence: the gateway knows by it that the server is alive."""
    once = len((await hear(targets, silence(QUIET_MS))).responses)
    twice = len((await hear(targets, silence(2 * QUIET_MS))).responses)
    if once < QUIET_MS // CHUNK_MS_MAX or abs(twice - 2 * once) > SLACK:
        raise Failed(f"{once} answers to {QUIET_MS} ms of silence, {twice} to twice as much: raise asr.stall_ms")
    return f"a chunk is about {QUIET_MS / (twice - once):.0f} ms"


async def own_chunks(targets: Targets) -> str:
    """A7. The server's chunk does not depend on the client's."""
    short, long = [len((await hear(targets, silence(QUIET_MS // 2), message_ms=ms)).responses) for ms in (20, 200)]
    if abs(short - long) > SLACK:
        raise Failed(f"{short} answers to messages of 20 ms, {long} to the same audio in messages of 200 ms")
    return f"{short} and {long} answers"


async def clock(targets: Targets) -> str:
    """A8. `audio_processed` grows, and says how much was heard."""
    audio = await utterance(targets)
    told = [result.audio_processed * 1000 for result in (await hear(targets, audio)).results]
    sent_ms = len(audio) // BYTES_PER_MS
    if not told or max(told) == 0:
        raise NotSupported("results carry no audio_processed")
    if told != sorted(told):
        raise Failed("audio_processed goes back")
    # Half-close makes a server add silence of its own.
    if told[-1] > sent_ms + PAUSE_MS or told[-1] < sent_ms - PAUSE_MS - CHUNK_MS_MAX:
        raise Failed(f"says {told[-1]:.0f} ms at the end of {sent_ms} ms")
    return f"{told[-1]:.0f} of {sent_ms} ms"


async def finals_only(targets: Targets) -> str:
    """A9. Without `interim_results` there are only finals."""
    heard = await hear(targets, await utterance(targets), first=configuration(targets, interim=False))
    if partials := len(heard.results) - len(heard.finals):
        raise Failed(f"{partials} partials that nobody asked for")
    return f"{len(heard.finals)} finals"


async def two_passes(targets: Targets) -> str:
    """A10. Partials are unstable until the first pass calls the utterance over."""
    heard = await hear(targets, await utterance(targets))
    stabilities = [
        result.stability for result in heard.results if not result.is_final and result.alternatives[0].transcript.strip()
    ]
    if not stabilities:
        raise NotSupported("there are no partials")
    if stabilities[0] >= 1.0:
        raise Failed("the first partial has stability 1.0 already")
    if 1.0 not in stabilities:
        raise NotSupported("no partial of stability 1.0 came after stop_history_eou")
    return f"first {stabilities[0]:.2f}, then 1.0 before the final"


async def leading_blank(targets: Targets) -> str:
    """A11. What follows the first final begins with a blank."""
    heard = await hear(targets, 2 * await utterance(targets))
    texts = [result.alternatives[0].transcript for result in heard.finals if result.alternatives[0].transcript.strip()]
    if len(texts) < TWICE:
        raise NotSupported("no second final came: see A13")
    if not texts[1].startswith(" "):
        raise Failed(f"the second final is {texts[1]!r}")
    return repr(texts[1])


async def word_times(targets: Targets) -> str:
    """A12. Words are timed in milliseconds, on finals only."""
    audio = await utterance(targets)
    heard = await hear(targets, audio)
    if any(result.alternatives[0].words for result in heard.results if not result.is_final):
        raise Failed("partials have word times")
    words = [word for result in heard.finals for word in result.alternatives[0].words]
    if not words:
        raise NotSupported("finals have no word times")
    length_ms = len(audio) // BYTES_PER_MS
    if not length_ms // 4 < words[-1].end_time <= length_ms or any(word.end_time < word.start_time for word in words):
        raise Failed(f"the last word of {length_ms} ms ends at {words[-1].end_time}")
    return f"{words[0].word!r} from {words[0].start_time} ms, {words[-1].word!r} to {words[-1].end_time} ms"


async def many_finals(targets: Targets) -> str:
    """A13. Each utterance of a stream gets its final."""
    heard = await hear(targets, 2 * await utterance(targets), waits=True)
    if not heard.unasked:
        raise NotSupported("nothing was final before the half-close: see A18")
    if len(heard.texts) < TWICE:
        raise Failed(f"one final for two utterances: {heard.texts}")
    return f"{len(heard.texts)} finals"


async def force_eou(targets: Targets) -> str:
    """A14. A final comes when it is asked for (`force_eou`), and the stream goes on."""
    endless = rasr.EndpointingConfig(stop_history=4000)
    speech = silence(400) + await targets.riva.say(TEXT) + silence(240)
    async with talk(targets, configuration(targets, endpointing_config=endless)) as stream:
        for count in (1, 2):
            await stream.say(speech)
            await stream.force()
            came = await stream.finals(count)
            if not came and count == 1:
                raise NotSupported("ignored, as by servers before 2.25.1: the gateway takes the last partial instead")
            if not came:
                raise Failed("the stream did not go on after the first final that was asked for")
        await stream.end()
    return "two finals were asked for, and came"


async def flushes_at_half_close(targets: Targets) -> str:
    """A15. At half-close the last words are final, and the call ends with OK."""
    heard = await hear(targets, silence(400) + await targets.riva.say(TEXT))
    if not heard.texts:
        raise Failed("no final came for what was said last")
    return repr(heard.texts[-1])


async def finalises(targets: Targets) -> str:
    """A18. Silence makes words final, without being asked."""
    heard = await hear(targets, await utterance(targets) + silence(PAUSE_MS + CHUNK_MS_MAX), waits=True)
    if not heard.unasked:
        raise Failed(f"{PAUSE_MS} ms of silence end no utterance: the gateway asks for finals, or takes the last partial")
    return repr(heard.unasked[0])


async def phantoms(targets: Targets) -> str:
    """A22. Nothing is heard in silence."""
    if texts := (await hear(targets, silence(QUIET_MS // 2))).texts:
        raise Failed(f"heard {texts[0]!r} in silence")
    return "nothing"


async def echo_of_id(targets: Targets) -> str:
    """A23. The id of the first request is on every response."""
    heard = await hear(targets, silence(QUIET_MS // 2), first=configuration(targets, id_="voicefsm-1"))
    ids = {response.id.value for response in heard.responses}
    if ids != {"voicefsm-1"}:
        raise Failed(f"ids are {sorted(ids)}")
    return f"{len(heard.responses)} responses"


async def vad_states(targets: Targets) -> str:
    """A24. Results carry the voice detector's probabilities, where a neural one is deployed."""
    results = (await hear(targets, await utterance(targets))).results
    probabilities = [value for result in results for value in result.pipeline_states.vad_probabilities]
    if not probabilities:
        raise NotSupported("no neural voice detector is deployed")
    if not all(0 <= value <= 1 for value in probabilities):
        raise Failed("they are no probabilities")
    return f"{len(probabilities)} values"


async def replay(targets: Targets) -> str:
    """A26. Audio that comes faster than it was spoken gives the same words: the gateway catches up that way."""
    audio = 3 * await utterance(targets)
    live, again = await asyncio.gather(hear(targets, audio, is_live=True), hear(targets, audio))
    _insist_on_final(live)
    if live.texts != again.texts:
        raise Failed(f"live {live.texts}, faster {again.texts}")
    return f"{len(live.texts)} finals alike"


async def dies_of_silence(targets: Targets) -> str:
    """A16. A stream that is sent nothing for a minute is dead: the gateway never lets it come to that."""
    idle_s = _long_enough(targets)
    async with talk(targets, configuration(targets)) as stream:
        await stream.say(silence(QUIET_MS // 4))
        await stream.settle()
        await asyncio.sleep(idle_s)
        await stream.say(silence(QUIET_MS // 4))
        await stream.settle()
        try:
            await stream.end()
        except grpc.aio.AioRpcError as error:
            return f"after {idle_s:g} s {error.code().name}: {error.details()}"
    raise NotSupported(f"it lives on after {idle_s:g} s without audio")


async def lives_on_silence(targets: Targets) -> str:
    """A17. A little silence now and then keeps a stream alive: so the gateway holds a muted client's."""
    idle_s = _long_enough(targets)
    async with talk(targets, configuration(targets)) as stream:
        for _ in range(math.ceil(idle_s / MUTED_S)):
            await stream.say(silence(MESSAGE_MS))
            await asyncio.sleep(min(MUTED_S, idle_s))
        before = len(stream.heard.responses)
        await stream.say(silence(QUIET_MS // 4))
        await stream.settle()
        if len(stream.heard.responses) == before:
            raise Failed(f"it answers nothing any more after {idle_s:g} s with {MESSAGE_MS} ms of silence every {MUTED_S:g} s")
        await stream.end()
    return f"alive after {idle_s:g} s with {MESSAGE_MS} ms of silence every {MUTED_S:g} s"


def _long_enough(targets: Targets) -> float:
    """For how long to say nothing."""
    idle_s = targets.wish.idle_s
    if idle_s < IDLE_S_MIN:
        raise NotSupported(f"takes more than a minute: --idle-s {IDLE_S_MIN:g}")
    return idle_s


CHECKS: tuple[Check, ...] = (
    Check("A1", "audio before the configuration is INVALID_ARGUMENT", audio_first),
    Check("A2", "a stream without a message is INVALID_ARGUMENT", no_message),
    Check("A3", "a second configuration is refused", second_configuration),
    Check("A4", "an unknown language is refused", unknown_language),
    Check("A5", "stereo and impossible rates are INVALID_ARGUMENT", unknown_formats),
    Check("A6", "each chunk is answered, also in silence", heartbeat),
    Check("A7", "the server's chunk does not depend on the client's", own_chunks),
    Check("A8", "audio_processed tells how much was heard", clock),
    Check("A9", "without interim_results there are only finals", finals_only),
    Check("A10", "partials are unstable until the first pass", two_passes),
    Check("A11", "a blank joins what follows the first final", leading_blank),
    Check("A12", "words are timed in ms, on finals only", word_times),
    Check("A13", "each utterance of a stream gets its final", many_finals),
    Check("A14", "force_eou brings a final and the stream goes on", force_eou),
    Check("A15", "half-close flushes a final and ends with OK", flushes_at_half_close),
    Check("A16", "a stream without audio for a minute is dead", dies_of_silence, deadline_ms=LONG_MS),
    Check("A17", "silence keeps a stream alive", lives_on_silence, deadline_ms=LONG_MS),
    Check("A18", "silence makes words final without being asked", finalises),
    Check("A19", "a stale stream hears nothing", cannot_be_seen(BY_ITSELF)),
    Check("A20", "a killed or frozen server", cannot_be_seen(OPERATOR)),
    Check("A21", "sporadic UNKNOWN from Triton", cannot_be_seen(BY_ITSELF)),
    Check("A22", "nothing is heard in silence", phantoms),
    Check("A23", "the id is echoed", echo_of_id),
    Check("A24", "results carry the voice detector's probabilities", vad_states),
    Check("A25", "endpointing windows are in steps of 80 ms", cannot_be_seen("the server's chunk is as long as the step")),
    Check("A26", "audio faster than real time gives the same words", replay),
    Check("A27", "RESOURCE_EXHAUSTED at capacity", cannot_be_seen("would fill the server up: not done to a server that works")),
)
