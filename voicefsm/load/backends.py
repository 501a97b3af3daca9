"""`python -m voicefsm.load.backends JSON FILE`: the scripted servers of a load run, a process of their own.

The recogniser hears a word for every 300 ms of audible audio, says in a first pass that the utterance is over, as Riva does, and
its final when it is asked; the model's first token is a whole sentence, the rest follows word by word; the voice has the timing of
Magpie with a first chunk at a known time. At the end the process prints what it was asked for: `totals {…}`, and writes what became
of each call to the voice into a file.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import riva.client.proto.riva_tts_pb2 as rtts

from voicefsm.acoustics.signals import pcm
from voicefsm.acoustics.talker import voice as talker
from voicefsm.audio.samples import Samples
from voicefsm.load.cancellations import VoiceCall, mark, write
from voicefsm.loop import run
from voicefsm.scripted import Answer, AsrScript, Pause, Result, ScriptedLlm, ScriptedRiva, partial
from voicefsm.scripted.asr import AsrStream, ScriptedAsr
from voicefsm.scripted.llm import DONE, FINISH, ROLE, ByRequest, Steps
from voicefsm.scripted.tts import ScriptedTts, TtsScript, magpie_like

WORD_MS = 300
AUDIBLE = 100
"""A piece of audio with no sample above this is silence."""
CHAR_MS = 60
_WHOLE: dict[str, Any] = {"first_chunk_bytes": 0, "load_ms": 0, "residue": 0.0}
"""Magpie's first 10 ms come with its next chunk here: they are nothing that playout could begin with, and their delay is known."""
BYTES_PER_MS = 32
FIRST = "The road along the {0} is dry and the {0} is wide."
REST = (
    " A small {0} leaves the pier every {0} until the evening. Shop {0} opens early and sells rolls with {0} atop it."
    " Behind the {0} a path climbs slowly by the old {0} wood."
)
"""Every piece of it that the voice is asked for holds the reply's mark."""


class LoadAsr(ScriptedAsr):
    """Hears how long somebody speaks, and says as many words."""

    def __init__(self, final_ms: int) -> None:
        super().__init__(AsrScript(streams_max=100_000))
        self._final_ms = final_ms

    def _open(self) -> AsrStream:
        return _Stream(self.script, self._final_ms)


class _Stream(AsrStream):
    def __init__(self, script: AsrScript, final_ms: int) -> None:
        super().__init__(script, ())
        self._final_ms = final_ms
        self._spoken_ms = 0.0
        self._silent_ms = 0.0
        self._said = 0
        self._is_announced = False
        """The first pass has said that the utterance is over. The second follows by itself: `stop_history`."""

    def _take(self, audio: bytes, *, is_last: bool) -> None:
        length_ms = len(audio) / BYTES_PER_MS
        if np.abs(np.frombuffer(audio, "<i2")).max(initial=0) > AUDIBLE:
            self._spoken_ms += length_ms
            self._silent_ms = 0.0
        else:
            self._silent_ms += length_ms
        words = int(self._spoken_ms // WORD_MS)
        windows = self.config.config.endpointing_config
        if is_last or (words and self._silent_ms >= windows.stop_history > 0):
            self.force_eous += is_last
            asyncio.get_running_loop().call_later(self._final_ms / 1000, self.act, self._final(words))
            self._spoken_ms, self._said, self._is_announced = 0.0, 0, False
        elif words and not self._is_announced and self._silent_ms >= windows.stop_history_eou > 0:
            self._is_announced = True
            self.act(partial(_text(words), 1.0))
        elif words > self._said:
            self._said = words
            self.act(partial(_text(words)))
        else:
            self._queue_due()

    def _final(self, words: int) -> Answer:
        return Answer((Result(_text(words), is_final=True, stability=1.0),))


def _text(words: int) -> str:
    return " ".join(("tell me more about the road along the lake".split() * (words // 9 + 1))[:words])


def answer(first_token_ms: int, number: int = 0) -> Steps:
    """A sentence at once, then three more, a word every 10 ms. Replies of different numbers can be told apart, and are as long."""
    steps: list[Any] = [ROLE, Pause(first_token_ms), FIRST.format(mark(number))]
    for word in REST.format(mark(number)).split(" ")[1:]:
        steps += [Pause(10), f" {word}"]
    return [*steps, FINISH, DONE]


class LoadTts(ScriptedTts):
    """Remembers when each text came and each call ended, on the clock that the processes of this machine share."""

    def __init__(self, script: TtsScript) -> None:
        super().__init__(script)
        self._seen: dict[int, VoiceCall] = {}

    @property
    def seen(self) -> Iterator[VoiceCall]:
        """Calls that asked for something."""
        yield from self._seen.values()

    def _note(self, call: int, request: rtts.SynthesizeSpeechRequest) -> int:
        self._seen.setdefault(call, VoiceCall()).texts.append((time.monotonic_ns(), request.text))
        return super()._note(call, request)

    def _note_end(self, call: int, *, is_cancelled: bool) -> None:
        super()._note_end(call, is_cancelled=is_cancelled)
        if call in self._seen:
            self._seen[call].ended_ns, self._seen[call].is_cancelled = time.monotonic_ns(), is_cancelled


@functools.cache
def _sound(count: int, rate_hz: int) -> Samples:
    """The voice: the first samples of the same minute of talk, whatever the text."""
    whole = pcm(talker(17, 20.0, level_db=-24, pitch_hz=210))
    spread = np.interp(np.arange(int(len(whole) * rate_hz / 16000)) * 16000 / rate_hz, np.arange(len(whole)), whole)
    return np.asarray(spread[:count], np.int16)


def _voice(text: str, rate_hz: int, char_ms: int) -> Samples:
    return _sound(len(text) * char_ms * rate_hz // 1000, rate_hz)


async def main(delays: dict[str, int], calls: Path) -> None:
    """Serve until SIGTERM, and write then what the voice saw into `calls`."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tts = LoadTts(magpie_like(voice=_voice, char_ms=CHAR_MS, first_chunk_ms=delays["tts_first_chunk_ms"], **_WHOLE))
    riva = ScriptedRiva(asr=LoadAsr(delays["asr_final_ms"]), tts=tts)
    numbers = itertools.count()
    llm = ScriptedLlm([ByRequest(lambda _: answer(delays["llm_first_token_ms"], next(numbers)))])
    async with riva, llm:
        print(f"voicefsm load: Riva ASR+TTS on {riva.target}")  # noqa: T201, it is a command
        print(f"voicefsm load: LLM on {llm.base_url}", flush=True)  # noqa: T201
        await stop.wait()
        totals = {
            "tts_texts": len(riva.tts.asked),
            "tts_calls": riva.tts.calls,
            "tts_cancelled": riva.tts.cancelled,
            "llm_requests": len(llm.requests),
            "llm_aborted": llm.aborted,
        }
    write(calls, tts.seen)
    print("totals " + json.dumps(totals), flush=True)  # noqa: T201


if __name__ == "__main__":
    run(main(json.loads(sys.argv[1]), Path(sys.argv[2])))
