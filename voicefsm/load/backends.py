"""`python -m voicefsm.load.backends JSON`: the scripted servers of a load run, a process of their own.

The recogniser hears a word for every 300 ms of audible audio, says in a first pass that the utterance is over, as Riva does, and
its final when it is asked; the model's first token is a whole sentence, the rest follows word by word; the voice has the timing of
Magpie with a first chunk at a known time. At the end the process prints what it was asked for: `totals {…}`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import sys
from typing import Any

import numpy as np

from voicefsm.acoustics.signals import pcm
from voicefsm.acoustics.talker import voice as talker
from voicefsm.audio.samples import Samples
from voicefsm.loop import run
from voicefsm.scripted import Answer, AsrScript, Pause, Result, ScriptedLlm, ScriptedRiva, partial
from voicefsm.scripted.asr import AsrStream, ScriptedAsr
from voicefsm.scripted.llm import DONE, FINISH, ROLE, Reply
from voicefsm.scripted.tts import magpie_like

WORD_MS = 300
AUDIBLE = 100
"""A piece of audio with no sample above this is silence."""
CHAR_MS = 60
_WHOLE: dict[str, Any] = {"first_chunk_bytes": 0, "load_ms": 0, "residue": 0.0}
"""Magpie's first 10 ms come with its next chunk here: they are nothing that playout could begin with, and their delay is known."""
BYTES_PER_MS = 32
FIRST = "The road along the lake is dry and the view is wide."
REST = (
    " A small boat leaves the pier every hour until the evening. The baker opens early and sells rolls with seeds on top."
    " Behind the mill a path climbs slowly through the old wood."
)


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


def answer(first_token_ms: int) -> Reply:
    """A sentence at once, then three more, a word every 10 ms."""
    steps: list[Any] = [ROLE, Pause(first_token_ms), FIRST]
    for word in REST.split(" ")[1:]:
        steps += [Pause(10), f" {word}"]
    return [*steps, FINISH, DONE]


@functools.cache
def _sound(count: int, rate_hz: int) -> Samples:
    """The voice: the first samples of the same minute of talk, whatever the text."""
    whole = pcm(talker(17, 20.0, level_db=-24, pitch_hz=210))
    spread = np.interp(np.arange(int(len(whole) * rate_hz / 16000)) * 16000 / rate_hz, np.arange(len(whole)), whole)
    return np.asarray(spread[:count], np.int16)


def _voice(text: str, rate_hz: int, char_ms: int) -> Samples:
    return _sound(len(text) * char_ms * rate_hz // 1000, rate_hz)


async def main(delays: dict[str, int]) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tts = magpie_like(voice=_voice, char_ms=CHAR_MS, first_chunk_ms=delays["tts_first_chunk_ms"], **_WHOLE)
    riva = ScriptedRiva(asr=LoadAsr(delays["asr_final_ms"]), tts=tts)
    llm = ScriptedLlm([answer(delays["llm_first_token_ms"])])
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
    print("totals " + json.dumps(totals), flush=True)  # noqa: T201


if __name__ == "__main__":
    run(main(json.loads(sys.argv[1])))
