"""flite through ctypes: the CMU voices slt, rms and awb, where Debian's libflite1 is installed. Nicer, and about 1 % of a core.

A voice's "streaming_info" feature holds a callback that gets each 20 ms or so of audio and stops the synthesis by returning -1.
At the first call for a sentence its whole word timing is already decided, so all words of it are reported with that piece.
The voices share their features between calls: one lock for the engine.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from voicefsm.embedded.voices import Emit, Piece, TimedWord, Voice

_STOP, _CONTINUE = -1, 0
_SPEAKERS = ("slt", "rms", "awb")
_SAMPLE_RATE_HZ = 16000
_BUFFER_SAMPLES_MIN = 320
_WORD_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"
_WORD_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"


class _Wave(ctypes.Structure):
    """`cst_wave`."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _CVoice(ctypes.Structure):
    """The head of `cst_voice`."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class _StreamingInfo(ctypes.Structure):
    """`cst_audio_streaming_info`; its callback is `_Callback`, kept as a plain pointer because the types refer to each other."""

    _fields_ = (
        ("min_buffsize", ctypes.c_int),
        ("callback", ctypes.c_void_p),
        ("utterance", ctypes.c_void_p),
        ("item", ctypes.c_void_p),
        ("user_data", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_Wave), ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(_StreamingInfo)
)


class FliteEngine:
    """The process's one flite."""

    def __init__(self) -> None:
        """Load the libraries; raises OSError when they are not installed (Debian: `apt-get install libflite1`)."""
        self._lock = threading.Lock()
        self._library = _load("flite")
        self._prototypes()
        self._library.flite_init()
        self._callback = _Callback(self._on_audio)  # kept: ctypes does not hold it for us
        self._handles = {speaker: self._register(speaker) for speaker in _SPEAKERS}
        self._voices = tuple(
            Voice(model="flite-en-US", speaker=speaker, language_code="en-US", native_name=speaker) for speaker in _SPEAKERS
        )
        self._emit: Emit = lambda _: False
        self._pending = _Pending("")
        self._spoken_ms = 0

    @property
    def voices(self) -> Sequence[Voice]:
        """Slt (a woman), rms (a man), awb (a Scottish man); all American English to the clients."""
        return self._voices

    @property
    def sample_rate_hz(self) -> int:
        """16000."""
        return _SAMPLE_RATE_HZ

    def speak(self, text: str, voice: Voice, emit: Emit) -> None:
        """Speak `text`; see `Engine`."""
        with self._lock:
            self._emit, self._pending, self._spoken_ms = emit, _Pending(text), 0
            self._library.flite_text_to_speech(self._pending.text, self._handles[voice.native_name], b"stream")
            self._emit = lambda _: False

    def _prototypes(self) -> None:
        library, pointer, text = self._library, ctypes.c_void_p, ctypes.c_char_p
        _declare(library.flite_text_to_speech, ctypes.c_float, text, ctypes.POINTER(_CVoice), text)
        _declare(library.new_audio_streaming_info, ctypes.POINTER(_StreamingInfo))
        _declare(library.audio_streaming_info_val, pointer, ctypes.POINTER(_StreamingInfo))
        _declare(library.flite_feat_set, None, pointer, text, pointer)
        _declare(library.utt_relation, pointer, pointer, text)
        _declare(library.relation_head, pointer, pointer)
        _declare(library.item_next, pointer, pointer)
        _declare(library.flite_path_to_item, pointer, pointer, text)
        _declare(library.flite_ffeature_string, text, pointer, text)
        _declare(library.flite_ffeature_float, ctypes.c_float, pointer, text)

    def _register(self, speaker: str) -> ctypes._Pointer[_CVoice]:
        """Load a voice and hang our callback on it."""
        register = getattr(_load(f"flite_cmu_us_{speaker}"), f"register_cmu_us_{speaker}")
        _declare(register, ctypes.POINTER(_CVoice), ctypes.c_char_p)
        handle = register(None)
        info = self._library.new_audio_streaming_info()
        info.contents.min_buffsize = _BUFFER_SAMPLES_MIN
        info.contents.callback = ctypes.cast(self._callback, ctypes.c_void_p).value
        self._library.flite_feat_set(handle.contents.features, b"streaming_info", self._library.audio_streaming_info_val(info))
        return handle  # type: ignore[no-any-return]

    def _on_audio(
        self, wave: ctypes._Pointer[_Wave], start: int, size: int, last: int, info: ctypes._Pointer[_StreamingInfo]
    ) -> int:
        """The C callback. Nothing here raises: an exception could not propagate."""
        samples = np.ctypeslib.as_array(wave.contents.samples, (start + size,))[start:].copy()
        words = tuple(self._words(info.contents.utterance)) if start == 0 else ()
        if last:
            self._spoken_ms += (start + size) * 1000 // _SAMPLE_RATE_HZ
        return _CONTINUE if self._emit(Piece(samples, words)) else _STOP

    def _words(self, utterance: int) -> Iterator[TimedWord]:
        """The words of one sentence; a token of the text that is spoken as several words ("42") is one."""
        for _, spoken in itertools.groupby(self._spoken(utterance), key=lambda word: word.token):
            words = list(spoken)
            yield TimedWord(self._pending.take(words[0].name), words[0].start_ms, words[-1].end_ms)

    def _spoken(self, utterance: int) -> Iterator[_SpokenWord]:
        library = self._library
        item = library.relation_head(library.utt_relation(utterance, b"Word"))
        while item:
            start_s, end_s = (library.flite_ffeature_float(item, path) for path in (_WORD_START, _WORD_END))
            if end_s > 0:  # punctuation is a "word" without a sound
                yield _SpokenWord(
                    token=library.flite_path_to_item(item, b"R:Token.parent"),
                    name=library.flite_ffeature_string(item, b"R:Token.parent.name").decode(),
                    start_ms=self._spoken_ms + round(1000 * start_s),
                    end_ms=self._spoken_ms + round(1000 * end_s),
                )
            item = library.item_next(item)


class _SpokenWord(NamedTuple):
    token: int
    name: str
    start_ms: int
    end_ms: int


class _Pending:
    """The words of the text that were not spoken yet."""

    def __init__(self, text: str) -> None:
        self._words = [(word, plain) for word in text.split() if (plain := _plain(word))]

    @property
    def text(self) -> bytes:
        """All of them, as flite reads them."""
        return " ".join(plain for _, plain in self._words).encode()

    def take(self, name: str) -> str:
        """The next word of the text that contains what flite calls `name`; `name` itself when there is none."""
        for index, (word, plain) in enumerate(self._words):
            if name in plain:
                del self._words[: index + 1]
                return word
        return name


def _load(name: str) -> ctypes.CDLL:
    path = ctypes.util.find_library(name)
    if path is None:
        raise OSError(f"lib{name} is not installed (Debian: apt-get install libflite1)")
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def _declare(function: ctypes._NamedFuncPointer, result: type | None, *arguments: type) -> None:
    function.restype = result
    function.argtypes = arguments


_PLAIN = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u2026", "''\"\"-,.")


def _plain(word: str) -> str:
    """Flite reads ASCII: typographic marks become plain ones, accents go, other characters fall silent."""
    return unicodedata.normalize("NFKD", word.translate(_PLAIN)).encode("ascii", "ignore").decode()
