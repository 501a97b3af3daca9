"""What a speech synthesis engine is to this server: voices, and a blocking call that speaks into a callback.

`Engine.speak` runs in a worker thread and calls `emit` for each piece as soon as it exists. `emit` returning False aborts the
synthesis at once; that is how a cancelled RPC stops costing CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Mono PCM, shape (n,)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """One voice a client may ask for."""

    model: str
    """The engine and language, what Riva calls the voice without its subvoice: `espeak-ng-en-US`."""
    speaker: str
    """The subvoice: `Male-1`."""
    language_code: str
    """BCP-47, as clients send it."""
    native_name: str
    """What the engine itself calls it."""

    @property
    def name(self) -> str:
        """What goes into `voice_name` of a request."""
        return f"{self.model}.{self.speaker}"


@dataclasses.dataclass(frozen=True, slots=True)
class TimedWord:
    """A word as it stands in the text, and when it sounds."""

    text: str
    start_ms: int
    """From the first sample of this text."""
    end_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What became known in one call of the engine's callback."""

    samples: Samples
    words: tuple[TimedWord, ...] = ()
    """The words whose end is known by now; each word is reported once."""


Emit = Callable[[Piece], bool]
"""Takes a piece; False means: stop."""


class Engine(Protocol):
    """A synthesiser."""

    @property
    def voices(self) -> Sequence[Voice]:
        """What it offers, the best first."""

    @property
    def sample_rate_hz(self) -> int:
        """Of everything it emits."""

    def speak(self, text: str, voice: Voice, emit: Emit) -> None:
        """Speak `text`; blocks until all is emitted or `emit` returned False. Safe to call from several threads."""
