"""Speaks lines into files: `python -m voicefsm.bench.echo.synthesis < lines.json`, a process of its own (docs/adr/0004).

Standard input is a list of [engine, voice, text, file]; each file becomes the utterance, a numpy array at 16 kHz.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from voicefsm.acoustics.signals import Signal
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.echo.voices import resampled
from voicefsm.embedded.espeak_engine import EspeakEngine
from voicefsm.embedded.flite_engine import FliteEngine
from voicefsm.embedded.voices import Engine, Piece, Voice

_WORDS_PER_MINUTE = 165
_BLOCK_SAMPLES = 441
"""Lengths are rounded up to this, so that they convert from 22050 Hz without a remainder."""


def spoken(engine: Engine, native_name: str, text: str) -> Signal:
    """One utterance at 16 kHz."""
    pieces: list[Piece] = []

    def keep(piece: Piece) -> bool:
        pieces.append(piece)
        return True

    engine.speak(text, Voice(model="", speaker="", language_code="en-US", native_name=native_name), keep)
    samples = np.concatenate([piece.samples for piece in pieces]) / 32768.0
    padded = np.concatenate((samples, np.zeros(-len(samples) % _BLOCK_SAMPLES)))
    return resampled(padded, RATE_HZ / engine.sample_rate_hz)


def main() -> None:
    """Speak everything; engines are loaded when they are asked for."""
    engines: dict[str, Engine] = {}
    for name, voice, text, file in json.load(sys.stdin):
        if name not in engines:
            engines[name] = FliteEngine() if name == "flite" else EspeakEngine(_WORDS_PER_MINUTE)
        path = Path(file)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as out:
            np.save(out, spoken(engines[name], voice, text).astype(np.float32))
        unfinished.rename(path)


if __name__ == "__main__":
    main()
