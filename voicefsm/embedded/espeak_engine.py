"""espeak-ng through ctypes: small, robotic, a thousand times faster than real time, and exact about where each word sounds.

The library keeps everything in globals: one lock for the whole process, held for one text. That is a few milliseconds, because
synthesis is never paced here (the RPC does that afterwards). It runs in synchronous mode: `espeak_Synth` calls our callback from
the calling thread, with audio and with the WORD events that lie in it, and aborts when the callback returns 1.

espeak-ng is GPL-3.0. This module is imported by the embedded server's process only, never by the gateway.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import espeakng_loader
import numpy as np

from voicefsm.embedded.voices import Emit, Piece, Samples, TimedWord, Voice

_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8_WITH_END_PAUSE = 0x1001
_POS_CHARACTER = 1
_RATE = 1
_EVENT_LIST_TERMINATED, _EVENT_WORD, _EVENT_END, _EVENT_MSG_TERMINATED = 0, 1, 5, 6
_BUFFER_MS = 40
_SILENCE = 30
"""Of 32767: what lies below is a pause."""

_LANGUAGES = {
    "en-US": "en-us",
    "en-GB": "en",
    "de-DE": "de",
    "es-ES": "es",
    "es-US": "es-419",
    "fr-FR": "fr",
    "hi-IN": "hi",
    "it-IT": "it",
    "pt-BR": "pt-br",
}
_SPEAKERS = {"Male-1": "", "Female-1": "+f5", "Female-2": "+f2", "Male-2": "+caleb"}
"""Variants of the one synthesiser. Of a hundred, the last three are those that the embedded recogniser understands best."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakEngine:
    """The process's one espeak-ng."""

    def __init__(self, words_per_minute: int) -> None:
        """Load the library and its data from the wheel; raises RuntimeError when it cannot be initialised."""
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data, _DONT_EXIT)
        if self._rate_hz <= 0:
            raise RuntimeError("espeak-ng did not initialise: reinstall the package espeakng-loader")
        self._words_per_minute = words_per_minute
        self._utterance: _Utterance | None = None
        self._callback = _Callback(self._on_audio)  # kept: ctypes does not hold it for us
        self._library.espeak_SetSynthCallback(self._callback)
        self._voices = tuple(
            Voice(model=f"espeak-ng-{code}", speaker=speaker, language_code=code, native_name=native + variant)
            for code, native in _LANGUAGES.items()
            for speaker, variant in _SPEAKERS.items()
        )

    @property
    def voices(self) -> Sequence[Voice]:
        """Nine languages, four speakers each; they are variants of one formant synthesiser."""
        return self._voices

    @property
    def sample_rate_hz(self) -> int:
        """22050."""
        return int(self._rate_hz)

    def speak(self, text: str, voice: Voice, emit: Emit) -> None:
        """Speak `text`; see `Engine`. Raises RuntimeError when the library refuses."""
        encoded = text.encode()
        with self._lock:
            self._utterance = _Utterance(text, self.sample_rate_hz, emit)
            self._select(voice)
            uid = ctypes.c_uint(0)
            error = self._library.espeak_Synth(
                encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POS_CHARACTER, 0, _UTF8_WITH_END_PAUSE, ctypes.byref(uid), None
            )
            self._utterance = None
        if error:
            raise RuntimeError(f"espeak-ng failed with error {error}")

    def _select(self, voice: Voice) -> None:
        if self._library.espeak_SetVoiceByName(voice.native_name.encode()):
            raise RuntimeError(f"espeak-ng has no voice {voice.native_name!r}")
        self._library.espeak_SetParameter(_RATE, self._words_per_minute, 0)

    def _on_audio(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        """The C callback: 0 goes on, 1 aborts. An exception here could not propagate, hence nothing here raises."""
        utterance = self._utterance
        if utterance is None:
            return 1
        samples = np.ctypeslib.as_array(wav, (count,)).copy() if wav and count else np.zeros(0, np.int16)
        return 0 if utterance.take(samples, list(_read(events))) else 1


class _Mark(NamedTuple):
    """What we keep of an event."""

    kind: int
    position: int
    """The first character of the word, counted from 1."""
    at_ms: int


def _read(events: ctypes._Pointer[_Event]) -> Iterator[_Mark]:
    index = 0
    while (event := events[index]).type != _EVENT_LIST_TERMINATED:
        yield _Mark(event.type, event.text_position, event.audio_position)
        index += 1


class _Utterance:
    """Turns WORD events into word times.

    Words are what blanks separate in the text. espeak says where each begins ("42" twice: forty, two). A word ends where the next
    begins; the last of a clause ends with the last sample that is no silence, because the pause after it belongs to nobody.
    """

    def __init__(self, text: str, rate_hz: int, emit: Emit) -> None:
        self._spans = [match.span() for match in re.finditer(r"\S+", text)]
        self._text = text
        self._rate_hz = rate_hz
        self._emit = emit
        self._samples = 0
        self._loud_ms = 0
        self._span: tuple[int, int] | None = None
        self._start_ms = 0

    def take(self, samples: Samples, events: Sequence[_Mark]) -> bool:
        loud = np.flatnonzero(np.abs(samples) > _SILENCE)
        if loud.size:
            self._loud_ms = (self._samples + int(loud[-1]) + 1) * 1000 // self._rate_hz
        self._samples += len(samples)
        words = tuple(word for event in events for word in self._step(event))
        return self._emit(Piece(samples, words))

    def _step(self, event: _Mark) -> Iterator[TimedWord]:
        if event.kind in (_EVENT_END, _EVENT_MSG_TERMINATED):
            yield from self._close(min(event.at_ms, self._loud_ms))
        if event.kind == _EVENT_WORD:
            span = next((span for span in self._spans if span[0] < event.position <= span[1]), None)
            if span and span != self._span:
                yield from self._close(event.at_ms)
                self._span, self._start_ms = span, event.at_ms

    def _close(self, end_ms: int) -> Iterator[TimedWord]:
        if self._span:
            yield TimedWord(self._text[slice(*self._span)], self._start_ms, max(end_ms, self._start_ms))
        self._span = None
