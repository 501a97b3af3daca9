"""pocketsphinx through ctypes, on the C symbols that the wheel's own extension module exports.

Why not the extension's Python classes: they hold the GIL while they decode, and one busy stream would stop every other. A ctypes
call releases it. (The symbols are exported on Linux and macOS; on Windows they are not.)

A decoder serves one stream at a time and one thread at a time. Its memory is bounded by the length of one utterance, which the
caller bounds.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pocketsphinx
from pocketsphinx import _pocketsphinx

from voicefsm.embedded import phrases
from voicefsm.embedded.cepstral_mean import GUESS, CepstralMean, Evidence
from voicefsm.embedded.language_model import Ngrams
from voicefsm.embedded.settings import Search
from voicefsm.embedded.voices import Samples

RATE_HZ = 16000
LANGUAGE = "en-US"
_MS_PER_FRAME = 10
_MODEL = Path(pocketsphinx.__file__).parent / "model" / "en-us"
_CONFIG = {"hmm": str(_MODEL / "en-us"), "dict": str(_MODEL / "cmudict-en-us.dict"), "loglevel": "FATAL"}
_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_VARIANT = re.compile(r"\(\d+\)$")
_USUAL, _BIASED = b"usual", b"biased"
_PATTERN_COUNT = 50.0
"""How often each pattern of `phrases.py` counts as seen: enough to trust what it says about the words within it."""
_PHRASE_COUNT = 50.0


@dataclasses.dataclass(frozen=True, slots=True)
class HeardWord:
    """A word and when it was said."""

    text: str
    start_ms: int
    """From the first sample of the utterance."""
    end_ms: int
    confidence: float
    """0 to 1; a comparison with what else it may have been, not a probability."""


class SpeechModel:
    """What the decoders have in common: the library, and how they search. Makes decoders."""

    def __init__(self, search: Search, domain_weight: float) -> None:
        """`domain_weight`: the share of the responder's sentences in the mixture, over 0 and under 1."""
        self.library = _load()
        self.search = search
        self.domain_weight = domain_weight
        self.domain = Ngrams((text, _PATTERN_COUNT * weight) for text, weight in phrases.sentences())
        self.lock = threading.Lock()
        """Held while something is loaded: rare, and not known to be re-entrant."""

    def decoder(self) -> Decoder:
        """Load one: a quarter of a second and about 90 MB. Raises RuntimeError."""
        with self.lock:
            return Decoder(self)


class Decoder:
    """One recogniser."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self._library = model.library
        self._handle = self._library.ps_init(self._library.ps_config_parse_json(None, json.dumps(_CONFIG).encode()))
        if not self._handle:
            raise RuntimeError("pocketsphinx did not start: reinstall the package pocketsphinx")
        self._grammars = _Grammars(self._library, self._handle)
        self._expected = list(self._usual())
        self._grammars.install(_USUAL, self._expected)
        self._is_biased = False
        self._mean = self._mean_in_use = CepstralMean(GUESS)
        self._evidence = Evidence()
        self._audio: list[Samples] = []
        """Of the current utterance, the pre-roll first, for decoding it anew."""
        self._in_utterance = False

    def _usual(self) -> Iterator[tuple[float, int]]:
        """The language models of a stream without phrases of its own, with their shares."""
        model = self._model
        if model.search is not Search.DOMAIN:
            yield 1 - model.domain_weight, self._grammars.read(_MODEL / "en-us.lm.bin")
        if model.search is not Search.OPEN:
            yield model.domain_weight, self._grammars.compile(model.domain)

    def close(self) -> None:
        """Free the memory. The decoder must not be used afterwards."""
        for _, grammar in self._expected:
            self._library.ngram_model_free(grammar)
        self._library.ps_free(self._handle)
        self._handle = None

    def begin_session(self, phrases: Sequence[str] = (), weight: float = 0.5) -> tuple[str, ...]:
        """Forget the last speaker, and expect `phrases` of this one. `weight` is their share against all else, from 0 to 1.

        Returns their words that are in no dictionary, and hence cannot be heard.
        """
        self._abandon()
        self._mean = CepstralMean(GUESS)
        self._library.ps_start_stream(self._handle)
        if self._is_biased:
            self._grammars.remove(_BIASED, instead=_USUAL)
        sentences = [phrase.lower().split() for phrase in phrases]
        unknown = {word for sentence in sentences for word in sentence if not self._knows(word)}
        known = [" ".join(sentence) for sentence in sentences if unknown.isdisjoint(sentence)]
        self._is_biased = bool(known)
        if known:
            self._bias(known, weight)
        return tuple(sorted(unknown))

    def _bias(self, sentences: Iterable[str], weight: float) -> None:
        with self._model.lock:
            extra = self._grammars.compile(Ngrams((sentence, _PHRASE_COUNT) for sentence in sentences))
            mixture = [(share * (1 - weight), grammar) for share, grammar in self._expected]
            self._grammars.install(_BIASED, [*mixture, (weight, extra)])
            self._library.ngram_model_free(extra)

    def _knows(self, word: str) -> bool:
        phones = self._library.ps_lookup_word(self._handle, word.encode())
        if phones:
            _free(phones)
        return bool(phones)

    # --- one utterance ---

    def start(self, pre_roll: Samples) -> None:
        """Begin an utterance; `pre_roll` is what was there before its onset, at 16 kHz. One that was not finished is forgotten."""
        self._abandon()
        self._audio.append(pre_roll)
        self._begin(self._mean)

    def process(self, samples: Samples) -> None:
        """Decode more of the utterance, at 16 kHz."""
        self._audio.append(samples)
        self._feed(samples)
        if self._evidence.is_worth_a_new_beginning(self._mean, self._mean_in_use):
            self._start_over(self._mean.with_evidence(self._evidence))

    def partial(self) -> str:
        """What was heard so far; may change again."""
        return (self._library.ps_get_hyp(self._handle, None) or b"").decode()

    def finish(self) -> tuple[HeardWord, ...]:
        """End the utterance and search again with hindsight."""
        self._abandon()
        self._mean = self._mean.with_evidence(self._evidence)
        has_words = self._library.ps_get_hyp(self._handle, None)  # finds the best path, which the segments are read from
        return tuple(self._segments()) if has_words else ()

    def _begin(self, mean: CepstralMean) -> None:
        self._mean_in_use = mean
        self._evidence = Evidence()
        self._library.ps_set_cmn(self._handle, mean.told())
        if self._library.ps_start_utt(self._handle):
            raise RuntimeError("pocketsphinx refused to start an utterance")
        self._in_utterance = True
        self._feed(self._audio[0])
        self._evidence.forget()

    def _abandon(self) -> None:
        """Be in no utterance."""
        if self._in_utterance:
            self._library.ps_end_utt(self._handle)
        self._in_utterance = False
        self._audio.clear()

    def _start_over(self, mean: CepstralMean) -> None:
        """Decode the utterance from its first sample with a better mean."""
        self._library.ps_end_utt(self._handle)
        self._begin(mean)
        for samples in self._audio[1:]:
            self._feed(samples)

    def _feed(self, samples: Samples) -> None:
        data = np.ascontiguousarray(samples)
        if self._library.ps_process_raw(self._handle, data.ctypes.data, len(data), 0, 0) < 0:
            raise RuntimeError("pocketsphinx failed to decode")
        self._evidence.gather(len(data), self._mean_in_use.values, self._library.ps_get_cmn(self._handle, 1))
        self._library.ps_set_cmn(self._handle, self._mean_in_use.told())

    def _segments(self) -> Iterator[HeardWord]:
        library, first, last = self._library, ctypes.c_int(), ctypes.c_int()
        logmath = library.ps_get_logmath(self._handle)
        segment = library.ps_seg_iter(self._handle)
        while segment:
            word = library.ps_seg_word(segment).decode()
            if not _FILLER.fullmatch(word):
                library.ps_seg_frames(segment, first, last)
                posterior = library.ps_seg_prob(segment, None, None, None)
                yield HeardWord(
                    text=_VARIANT.sub("", word),
                    start_ms=first.value * _MS_PER_FRAME,
                    end_ms=(last.value + 1) * _MS_PER_FRAME,
                    confidence=min(1.0, library.logmath_exp(logmath, posterior)),
                )
            segment = library.ps_seg_next(segment)


class _Grammars:
    """The language models of one decoder: C objects with reference counts; a search keeps references of its own."""

    def __init__(self, library: ctypes.CDLL, decoder: int) -> None:
        self._library = library
        self._decoder = decoder
        self._config = library.ps_get_config(decoder)
        self._logmath = library.ps_get_logmath(decoder)

    def read(self, file: Path) -> int:
        """Load a model from a file."""
        # The configuration carries the language weight; without it a mixture would silently lose it.
        grammar = self._library.ngram_model_read(self._config, str(file).encode(), 0, self._logmath)
        if not grammar:
            raise RuntimeError(f"pocketsphinx cannot read the language model {file}")
        return int(grammar)

    def compile(self, ngrams: Ngrams) -> int:
        """Make a model of counts; the library reads files only."""
        with tempfile.TemporaryDirectory(prefix="voicefsm-") as directory:
            file = Path(directory) / "phrases.arpa"
            file.write_text("\n".join(ngrams.arpa()), encoding="utf-8")
            return self.read(file)

    def install(self, name: bytes, mixture: Sequence[tuple[float, int]]) -> None:
        """Search with these models, each with its share."""
        count = len(mixture)
        models = (ctypes.c_void_p * count)(*(self._library.ngram_model_retain(model) for _, model in mixture))
        names = (ctypes.c_char_p * count)(*(f"part{index}".encode() for index in range(count)))
        shares = (ctypes.c_float * count)(*(share for share, _ in mixture))
        whole = self._library.ngram_model_set_init(self._config, models, names, shares, count)
        if not whole or self._library.ps_add_lm(self._decoder, name, whole) or self._activate(name):
            raise RuntimeError("pocketsphinx refused a language model")
        self._library.ngram_model_free(whole)

    def remove(self, name: bytes, *, instead: bytes) -> None:
        """Forget a search and use another."""
        self._activate(instead)
        self._library.ps_remove_search(self._decoder, name)

    def _activate(self, name: bytes) -> int:
        return int(self._library.ps_activate_search(self._decoder, name))


def _load() -> ctypes.CDLL:
    """The extension module as a plain C library, with the types of what we call."""
    library = ctypes.CDLL(_pocketsphinx.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    numbers = ctypes.POINTER(number)
    texts, pointers, shares = ctypes.POINTER(text), ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_float)
    prototypes: dict[str, tuple[type | None, ...]] = {
        "ps_config_parse_json": (pointer, pointer, text),
        "ps_init": (pointer, pointer),
        "ps_free": (number, pointer),
        "ps_get_config": (pointer, pointer),
        "ps_get_logmath": (pointer, pointer),
        "logmath_exp": (ctypes.c_double, pointer, number),
        "ngram_model_read": (pointer, pointer, text, number, pointer),
        "ngram_model_retain": (pointer, pointer),
        "ngram_model_free": (number, pointer),
        "ngram_model_set_init": (pointer, pointer, pointers, texts, shares, ctypes.c_int32),
        "ps_add_lm": (number, pointer, text, pointer),
        "ps_activate_search": (number, pointer, text),
        "ps_remove_search": (number, pointer, text),
        "ps_lookup_word": (pointer, pointer, text),
        "ps_start_stream": (number, pointer),
        "ps_start_utt": (number, pointer),
        "ps_process_raw": (number, pointer, pointer, ctypes.c_size_t, number, number),
        "ps_end_utt": (number, pointer),
        "ps_get_hyp": (text, pointer, pointer),
        "ps_get_cmn": (text, pointer, number),
        "ps_set_cmn": (number, pointer, text),
        "ps_seg_iter": (pointer, pointer),
        "ps_seg_next": (pointer, pointer),
        "ps_seg_word": (text, pointer),
        "ps_seg_frames": (None, pointer, numbers, numbers),
        "ps_seg_prob": (number, pointer, pointer, pointer, pointer),
    }
    for name, (result, *arguments) in prototypes.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _free(address: int) -> None:
    """Free what the library allocated for us."""
    free = ctypes.CDLL(None).free
    free.argtypes = (ctypes.c_void_p,)
    free(address)
