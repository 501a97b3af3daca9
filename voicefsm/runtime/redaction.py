"""Journals without what people said.

Theory of operation. The machine asks two things of words: does a text hold a word of the lexicon (a backchannel, a stop word),
and does one text repeat, continue or end another? A stand-in that keeps both keeps every decision, so a redacted journal replays:

- a word that is part of a phrase of any lexicon stays, since everybody says it;
- any other word becomes letters of the same length that stand for it in this session alone: the first five-letter word is `xxxxx`,
  the second `xxxxa`, and wherever it comes again, so does its stand-in. Capitals stay capitals;
- what is between words stays.

What is left to a reader: how long words are, which are repeated, and which are in the lexicon. Not kept are the texts themselves,
which replay does not compare then, and coincidences within words ("another" ends in "other"). A language written without spaces is
one long word to us, and so to the lexicon.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from voicefsm.lexicon import LEXICONS, normal

TEXTS = frozenset({"text", "question", "user_text", "assistant_text", "heard_text", "arguments", "output", "error", "problem"})
"""The fields, of facts, orders and finished turns, that hold what somebody said."""

_RUN = re.compile(r"(?:[^\W_]|[\u0900-\u0963'-])+")
"""Whatever may be part of a word to `bargein.normal`."""
_DIGITS = "xabcdefghijklmnopqrstuvwyz"
_PHRASES = frozenset[str]().union(*(lexicon.backchannels | lexicon.stops for lexicon in LEXICONS.values()))
_KEPT = frozenset(word for phrase in _PHRASES for word in phrase.split())


def without_texts(body: Mapping[str, Any]) -> dict[str, Any]:
    """A record without its texts."""
    return {name: _without_texts(value) for name, value in body.items() if name not in TEXTS}


def _without_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_texts(item) for item in value]
    return without_texts(value) if isinstance(value, Mapping) else value


class Redaction:
    """The stand-ins of one session."""

    def __init__(self) -> None:
        self._stand_ins: dict[str, str] = {}
        self._counts: Counter[int] = Counter()

    def record(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A record with stand-ins for what was said, however deep it stands."""
        return {name: self._value(name, value) for name, value in body.items()}

    def text(self, text: str) -> str:
        """A text with stand-ins for its words."""
        return _RUN.sub(lambda run: self._run(run[0]), text)

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value) if name in TEXTS else value
        if isinstance(value, list):
            return [self._value(name, item) for item in value]
        return self.record(value) if isinstance(value, Mapping) else value

    def _run(self, run: str) -> str:
        core = run.strip("-'")
        if normal(core) in _KEPT or not core:
            return run
        letters = zip(core, self._stand_in(core.lower()), strict=False)  # a capital may be two letters when it is small
        return run.replace(core, "".join(new.upper() if old.isupper() else new for old, new in letters), 1)

    def _stand_in(self, word: str) -> str:
        """As long as the word; no other word's, as long as there are letters enough."""
        while word not in self._stand_ins:
            number = self._counts[len(word)]
            self._counts[len(word)] += 1
            made = _lettered(number, len(word))
            if made not in _KEPT:
                self._stand_ins[word] = made
        return self._stand_ins[word]


def _lettered(number: int, length: int) -> str:
    """A number in letters: `xxxxx`, `xxxxa`, `xxxxb`, …; it begins again when there are no more."""
    letters = ""
    while len(letters) < length:
        number, digit = divmod(number, len(_DIGITS))
        letters = _DIGITS[digit] + letters
    return letters
