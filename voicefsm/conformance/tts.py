"""T: speech synthesis. Everything on `SynthesizeOnline`, which is all the gateway uses."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_audio_pb2 as raudio
import riva.client.proto.riva_tts_pb2 as rtts

from voicefsm.calls import half_close, write
from voicefsm.conformance.item import BY_ITSELF, Check, Failed, NotSupported, cannot_be_seen
from voicefsm.conformance.targets import Riva, Targets

RATE_HZ = 22050
"""The native rate of today's voices."""
BYTES_PER_S = 2 * RATE_HZ
MANY = ("This is one of many.", "This is another of many.", "This is the last of many.")
TEXTS = ("Hello there, how are you today?", "This is the second sentence.", "And here comes a third one.")


# --- one call ----------------------------------------------------------------------------------------------------------------


def request(riva: Riva, text: str, id_: str = "0", **fields: Any) -> rtts.SynthesizeSpeechRequest:
    """One text, as the gateway would ask for it; `fields` are what is different."""
    message = rtts.SynthesizeSpeechRequest(
        **{
            "text": text,
            "language_code": riva.language_code,
            "voice_name": riva.voice_name,
            "encoding": raudio.AudioEncoding.LINEAR_PCM,
            "sample_rate_hz": RATE_HZ,
            "enable_word_time_offsets": True,
        }
        | fields
    )
    message.id.value = id_
    return message


@asynccontextmanager
async def calling(riva: Riva) -> AsyncGenerator[grpc.aio.StreamStreamCall]:
    """A call of `SynthesizeOnline`; cancelled on leaving, if it still runs."""
    call = riva.synthesis().SynthesizeOnline()
    try:
        yield call
    finally:
        call.cancel()


async def begun(riva: Riva, call: grpc.aio.StreamStreamCall) -> rtts.SynthesizeSpeechResponse:
    """The first audio of a call that is not half-closed. Raises `NotSupported` when there is none; that is T3's business."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(riva.tts.first_audio_ms_max / 1000):
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.audio:
                    return response
    raise NotSupported(f"no audio within {riva.tts.first_audio_ms_max} ms while the call is open")


async def rest(call: grpc.aio.StreamStreamCall) -> list[rtts.SynthesizeSpeechResponse]:
    """What the call still delivers, until the server ends it with OK. Raises `AioRpcError` for any other status."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


async def speak(riva: Riva, *messages: rtts.SynthesizeSpeechRequest) -> list[rtts.SynthesizeSpeechResponse]:
    """Everything a call delivers that is given these texts at once, and half-closed."""
    async with calling(riva) as call:
        for message in messages:
            await write(call, message)
        await half_close(call)
        return await rest(call)


def texts(riva: Riva, spoken: Sequence[str] = TEXTS) -> list[rtts.SynthesizeSpeechRequest]:
    """Requests for `spoken`, with ids "0", "1" and so on."""
    return [request(riva, text, str(nth)) for nth, text in enumerate(spoken)]


def audio_of(responses: Iterable[rtts.SynthesizeSpeechResponse]) -> bytes:
    """All the audio."""
    return b"".join(response.audio for response in responses)


async def refusal(riva: Riva, **fields: Any) -> str:
    """How a request with these fields is refused: "STATUS: details". Raises `Failed` when it is not."""
    try:
        responses = await speak(riva, request(riva, TEXTS[0], **fields))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    raise Failed(f"accepted with OK and {len(audio_of(responses)) / BYTES_PER_S:.1f} s of audio")


# --- the items ---------------------------------------------------------------------------------------------------------------


async def streaming_input(targets: Targets) -> str:
    """T1. Any number of texts in one call; servers before 2.25 read one, and end the call with OK."""
    riva = targets.riva
    async with calling(riva) as call:
        for message in texts(riva, MANY):
            await write(call, message)
        await half_close(call)
        answered = {response.id.value for response in await rest(call) if response.audio}
    if answered == {"0", "1", "2"}:
        return "three of three texts answered"
    if answered <= {"0", ""}:
        raise NotSupported("one text for each call: an old server, which the gateway asks text by text")
    raise Failed(f"of the texts 0, 1 and 2 it answered {', '.join(sorted(answered))}")


async def echoes(targets: Targets) -> str:
    """T2. Each response carries the id of its text, in order."""
    riva = targets.riva
    responses = await speak(riva, *texts(riva))
    ids = [id_ for id_, _ in groupby(response.id.value for response in responses)]
    if ids not in (["0"], ["0", "1", "2"]):
        raise Failed(f"ids came back as {', '.join(map(repr, ids))}")
    told = {response.meta.text for response in responses}
    return f"ids {', '.join(ids)}; texts {'echoed, too' if set(TEXTS) & told else 'not echoed'}"


async def audio_before_half_close(targets: Targets) -> str:
    """T3. Audio does not wait for the end of the texts."""
    riva = targets.riva
    async with calling(riva) as call:
        await write(call, request(riva, TEXTS[0]))
        try:
            response = await begun(riva, call)
        except NotSupported as late:
            raise Failed(str(late)) from None
    return f"{len(response.audio)} bytes came while the call was open"


async def half_close_drains(targets: Targets) -> str:
    """T4. Half-close ends the call with OK, after all that was asked for."""
    riva = targets.riva
    async with calling(riva) as call:
        await write(call, request(riva, TEXTS[0]))
        first = await begun(riva, call)
        await half_close(call)
        whole = audio_of([first, *await rest(call)])
    alone = audio_of(await speak(riva, request(riva, TEXTS[0])))
    if len(whole) < 0.8 * len(alone):
        raise Failed(f"{len(whole)} bytes, and {len(alone)} when half-closed before the first audio")
    return f"OK after {len(whole) / BYTES_PER_S:.2f} s of audio"


async def cancel_frees(targets: Targets) -> str:
    """T5. A cancelled call gives its place back: what the next reply waits after a barge-in is told, and bounded."""
    riva = targets.riva
    quiet_ms = await first_audio_ms(riva, SHORT)
    text = _of_length(riva.tts.segment_chars_max)
    async with calling(riva) as call:
        for nth in range(CANCELLED_TEXTS):
            await write(call, request(riva, text, str(nth)))
        await begun(riva, call)
    after_ms = await first_audio_ms(riva, SHORT)
    seen = f"first audio {after_ms:.0f} ms after a cancelled call, {quiet_ms:.0f} ms before"
    if after_ms - quiet_ms > RESIDUE_MS_MAX:
        raise Failed(f"{seen}: cancelled texts of {len(text)} characters hold the server; lower tts.segment_chars_max")
    return f"{seen}; its texts had {len(text)} characters"


async def long_text(targets: Targets) -> str:
    """T6. A text beyond the limits is refused or cut at the limit, and not lost without a word."""
    riva, text = targets.riva, _of_length(LONG_CHARS)
    try:
        seconds = len(audio_of(await speak(riva, request(riva, text)))) / BYTES_PER_S
    except grpc.aio.AioRpcError as error:
        await first_audio_ms(riva, SHORT)
        return f"{len(text)} characters: {error.code().name}: {error.details()}"
    if seconds < CAP_S_MIN:
        raise Failed(f"{len(text)} characters: OK, and {seconds:.1f} s of audio")
    return f"{len(text)} characters: OK, and {seconds:.0f} s of audio"


async def nothing_to_say(targets: Targets) -> str:
    """T7. Texts without a word are silence or a refusal, and cost the texts after them nothing."""
    return await _each(targets.riva, ("", "...", "?!"))


async def reserved_characters(targets: Targets) -> str:
    """T8. Reserved characters end in speech or in an error, soon; the gateway never sends them."""
    return await _each(targets.riva, ("Mind the {curly} braces.", "Mind the <tag> here.", "Mind the * star."))


async def ssml(targets: Targets) -> str:
    """T19. Markup that is wrong ends in speech, silence or an error, soon; the gateway never sends any."""
    return await _each(
        targets.riva,
        ("<speak>This is never closed.", '<speak><prosody rate="900%">This is far too fast.</prosody></speak>'),
        may_fail=True,
    )


async def _each(riva: Riva, odd: Sequence[str], *, may_fail: bool = False) -> str:
    """What comes of each of these texts; a healthy one must work after each."""
    seen = []
    for text in odd:
        try:
            seconds = len(audio_of(await speak(riva, request(riva, text)))) / BYTES_PER_S
            seen.append(f"{text!r}: {seconds:.1f} s of audio")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT and not may_fail:
                raise Failed(f"{text!r}: {error.code().name}: {error.details()}") from None
            seen.append(f"{text!r}: {error.code().name}")
        await first_audio_ms(riva, SHORT)
    return ", ".join(seen)


async def bad_voice(targets: Targets) -> str:
    """T9. A voice that is not there is an error, not another voice."""
    return await refusal(targets.riva, voice_name="No-Such-Voice")


async def bad_language(targets: Targets) -> str:
    """T10. A language that nobody speaks is an error."""
    return await refusal(targets.riva, language_code="xx-XX", voice_name="")


async def chunks(targets: Targets) -> str:
    """T11. Chunks of any size, that make whole samples in the end."""
    responses = await speak(targets.riva, request(targets.riva, TEXTS[0]))
    sizes = [len(response.audio) for response in responses if response.audio]
    if not sizes:
        raise Failed("no audio at all")
    if sum(sizes) % 2:
        raise Failed(f"{sum(sizes)} bytes in all: half a sample is missing")
    first, others = sizes[0], sorted(sizes[1:] or sizes)
    odd = sum(size % 2 for size in sizes)
    told = f"the first {_ms(first):.0f} ms, the others {_ms(others[0]):.0f} to {_ms(others[-1]):.0f} ms"
    return f"{len(sizes)} chunks: {told}, {odd} of them odd"


async def load(targets: Targets) -> str:
    """T12. First audio comes within the gateway's limit, alone and with others."""
    riva, told = targets.riva, []
    for calls in LOADS:
        times = sorted(await asyncio.gather(*(first_audio_ms(riva, TEXTS[0]) for _ in range(calls))))
        told.append(f"{calls} at a time {statistics.median(times):.0f} (at most {times[-1]:.0f}) ms")
        if times[-1] > riva.tts.first_audio_ms_max:
            raise Failed(f"first audio after {times[-1]:.0f} ms with {calls} calls; tts.first_audio_ms_max is less")
    return "first audio: " + ", ".join(told)


async def crowd(targets: Targets) -> str:
    """T13. Calls beyond the server's places wait, or are refused with RESOURCE_EXHAUSTED."""
    riva = targets.riva
    ends = await asyncio.gather(*(speak(riva, request(riva, SHORT)) for _ in range(CROWD)), return_exceptions=True)
    refused = []
    for end in ends:
        if isinstance(end, grpc.aio.AioRpcError):
            if end.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Failed(f"of {CROWD} calls at a time one ended with {end.code().name}: {end.details()}")
            refused.append(end)
        elif isinstance(end, BaseException):
            raise end
    if len(refused) == CROWD:
        raise Failed(f"all of {CROWD} calls were refused")
    return f"of {CROWD} calls at a time {CROWD - len(refused)} were served and {len(refused)} refused"


async def word_times(targets: Targets) -> str:
    """T15. Word timings run forward and lie within the audio."""
    riva = targets.riva
    responses = await speak(riva, request(riva, TEXTS[0]))
    words = [word for response in responses for word in response.meta.words]
    if not words:
        if any(response.meta.predicted_durations for response in responses):
            return "none; predicted durations instead"
        raise NotSupported("none, and no predicted durations: what was heard is estimated from the share of audio")
    ends = [word.end_time for word in words]
    length_ms = _ms(len(audio_of(responses)))
    if ends != sorted(ends) or any(word.start_time > word.end_time for word in words):
        raise Failed(f"the times run backwards: {ends}")
    if ends[-1] > length_ms + WORD_MS_MAX:
        raise Failed(f"the last word ends at {ends[-1]} ms, the audio at {length_ms:.0f} ms")
    return f"{len(words)} words of {len(TEXTS[0].split())}; the last ends {length_ms - ends[-1]:.0f} ms before the audio"


async def one_word(targets: Targets) -> str:
    """T16. A text of one word is spoken whole."""
    riva = targets.riva
    alone = _ms(len(audio_of(await speak(riva, request(riva, "Understandable.")))))
    if alone < ONE_WORD_MS_MIN:
        raise Failed(f"{alone:.0f} ms of audio")
    return f"{alone:.0f} ms of audio"


async def flow_control(targets: Targets) -> str:
    """T18. A client that does not read holds the server back.

    A client cannot see what the server makes, only how soon the rest comes once it reads again: at once, if it was made meanwhile.
    """
    for tries_left in reversed(range(HELD_TRIES)):
        rest_s, whole_s = await _after_a_pause(targets.riva)
        seen = f"the rest came in {rest_s * 1000:.0f} ms after a pause in reading, the whole takes {whole_s * 1000:.0f} ms"
        if rest_s >= HELD_SHARE_MIN * whole_s:
            return seen
        if not tries_left:
            raise Failed(f"{seen}: the server works on whether anybody listens or not")
    raise AssertionError("there is at least one try")


async def _after_a_pause(riva: Riva) -> tuple[float, float]:
    """How long the rest of a reply takes whose reader has paused for as long as it takes in all, and how long that is; in s."""
    loop, messages = asyncio.get_running_loop(), texts(riva, [_of_length(LINE_CHARS)] * LINES)
    began = loop.time()
    audio_s = len(audio_of(await speak(riva, *messages))) / BYTES_PER_S
    whole_s = loop.time() - began
    if audio_s > PACE_MAX * whole_s:
        raise NotSupported(f"{audio_s:.0f} s of audio took {whole_s * 1000:.0f} ms: too fast to tell")
    async with calling(riva) as call:
        for message in messages:
            await write(call, message)
        await half_close(call)
        await call.read()
        await asyncio.sleep(whole_s)
        began = loop.time()
        await rest(call)
        return loop.time() - began, whole_s


# --- their tools -------------------------------------------------------------------------------------------------------------

SHORT = "That is all."
CANCELLED_TEXTS = 3
RESIDUE_MS_MAX = 2000
"""What a cancelled reply may cost the next one; a user waits no longer."""
LONG_CHARS = 2100
"""More than the 2,000 characters a request may have."""
CAP_S_MIN = 15.0
"""Audio of a long text that was cut at the documented 20 s, and not lost."""
LOADS = (1, 4)
CROWD = 8
WORD_MS_MAX = 100
"""How far past the audio a word may end."""
ONE_WORD_MS_MIN = 250
LINES, LINE_CHARS = 6, 100
PACE_MAX = 30.0
"""A server that makes audio faster than so many times real time is done before anybody could hold it back."""
HELD_TRIES = 3
"""A server that is busy with others for a moment looks like one that works on."""
HELD_SHARE_MIN = 0.4
"""Of a server that was held back, at least this share of the work is still to be done when reading goes on."""

_FILLER = "the road along the lake is dry and the view is wide "


def _of_length(chars: int) -> str:
    """A text of about so many characters, with whole words."""
    return (_FILLER * (chars // len(_FILLER) + 1))[:chars].rsplit(" ", 1)[0].capitalize() + "."


def _ms(audio_bytes: int) -> float:
    return audio_bytes / BYTES_PER_S * 1000


async def first_audio_ms(riva: Riva, text: str) -> float:
    """How long the first audio of a text takes, in a call of its own that is then left. Raises `Failed` when none comes."""
    loop = asyncio.get_running_loop()
    async with calling(riva) as call:
        began = loop.time()
        await write(call, request(riva, text))
        await half_close(call)
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.audio:
                took_ms = (loop.time() - began) * 1000
                await rest(call)
                return took_ms
    raise Failed(f"no audio for {text!r}")


CHECKS: tuple[Check, ...] = (
    Check("T1", "a call takes any number of texts", streaming_input),
    Check("T2", "responses carry the id of their text, in order", echoes),
    Check("T3", "audio comes before half-close", audio_before_half_close),
    Check("T4", "half-close drains the call, which ends with OK", half_close_drains),
    Check("T5", "a cancelled call frees the server", cancel_frees),
    Check("T6", "a text beyond the limits is not lost without a word", long_text, deadline_ms=90_000),
    Check("T7", "a text without a word does no harm", nothing_to_say),
    Check("T8", "reserved characters do no harm", reserved_characters),
    Check("T9", "an unknown voice is refused", bad_voice),
    Check("T10", "an unknown language is refused", bad_language),
    Check("T11", "chunks make whole samples", chunks),
    Check("T12", "first audio comes in time", load),
    Check("T13", "calls beyond the server's places are refused as such", crowd),
    Check(
        "T14",
        "a unary answer beyond 4 MB is refused by the client",
        cannot_be_seen("unary synthesis has crashed servers; the gateway never uses it, and takes messages of 16 MB"),
    ),
    Check("T15", "word timings lie within the audio", word_times),
    Check("T16", "a text of one word is spoken whole", one_word),
    Check("T17", "UNKNOWN from Triton in the middle of a text", cannot_be_seen(BY_ITSELF)),
    Check("T18", "a client that does not read holds the server back", flow_control, deadline_ms=90_000),
    Check("T19", "wrong markup does no harm", ssml),
)
