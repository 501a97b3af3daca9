"""T: speech synthesis. Everything on `SynthesizeOnline`, which is all the gateway uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_audio_pb2 as raudio
import riva.client.proto.riva_tts_pb2 as rtts

from voicefsm.adapters.channels import half_close, write
from voicefsm.conformance.item import Check, Failed, NotSupported
from voicefsm.conformance.targets import Riva, Targets

RATE_HZ = 22050
"""The native rate of today's voices."""
BYTES_PER_S = 2 * RATE_HZ
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
        for message in texts(riva):
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
        async with asyncio.timeout(riva.tts.first_audio_ms_max / 1000):
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.audio:
                    return f"{len(response.audio)} bytes came while the call was open"
    raise Failed("the call ended with OK and without audio")


async def half_close_drains(targets: Targets) -> str:
    """T4. Half-close ends the call with OK, after all that was asked for."""
    riva = targets.riva
    async with calling(riva) as call:
        await write(call, request(riva, TEXTS[0]))
        first = await call.read()
        await half_close(call)
        whole = audio_of([first, *await rest(call)])
    alone = audio_of(await speak(riva, request(riva, TEXTS[0])))
    if len(whole) < 0.8 * len(alone):
        raise Failed(f"{len(whole)} bytes, and {len(alone)} when half-closed before the first audio")
    return f"OK after {len(whole) / BYTES_PER_S:.2f} s of audio"


async def bad_voice(targets: Targets) -> str:
    """T9. A voice that is not there is an error, not another voice."""
    return await refusal(targets.riva, voice_name="No-Such-Voice")


async def bad_language(targets: Targets) -> str:
    """T10. A language that nobody speaks is an error."""
    return await refusal(targets.riva, language_code="xx-XX", voice_name="")


CHECKS: tuple[Check, ...] = (
    Check("T1", "a call takes any number of texts", streaming_input),
    Check("T2", "responses carry the id of their text, in order", echoes),
    Check("T3", "audio comes before half-close", audio_before_half_close),
    Check("T4", "half-close drains the call, which ends with OK", half_close_drains),
    Check("T9", "an unknown voice is refused", bad_voice),
    Check("T10", "an unknown language is refused", bad_language),
)
