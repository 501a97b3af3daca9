"""The words of the utterance in progress, told once each, whichever stream says them and how often.

A stream that takes over hears the utterance again from its beginning, and says again what was shown already. A recogniser that
never finalises goes on with words that were taken for final. Here

- a partial of a stream that still catches up is not shown while it says less than what was shown before;
- words that were `committed`, which means told as a final although the recogniser had not said its last word, are left out of
  whatever it says of the same utterance later.
"""

from __future__ import annotations

from collections.abc import Sequence

from voicefsm.events import Word
from voicefsm.lexicon import normal


class Wording:
    """What was told of the utterance in progress."""

    def __init__(self) -> None:
        self.partial = ""
        """What the last partial told said beyond the committed words; empty when an utterance is to begin."""
        self.is_stable = False
        """The recogniser takes it for complete."""
        self._committed: list[str] = []
        """Plain words."""
        self._least_words = 0
        """While catching up: a partial with fewer words tells nothing new."""
        self._is_again = False
        """The utterance is heard again, by another stream than the one that committed words."""

    @property
    def is_open(self) -> bool:
        """Words were shown that no final has told."""
        return bool(self.partial)

    @property
    def committed_words(self) -> int:
        """How many words a recogniser that never finalises may still repeat."""
        return len(self._committed)

    def hear_partial(self, text: str, *, is_stable: bool) -> str | None:
        """What to tell of a partial; None: nothing."""
        fresh = self._beyond_committed(text)
        if len(fresh.split()) < self._least_words or (not fresh and self._committed):
            return None
        self.partial, self.is_stable = fresh, is_stable
        return fresh

    def hear_final(self, text: str, words: Sequence[Word]) -> tuple[str, tuple[Word, ...]] | None:
        """What to tell of a final; None: nothing, its words were told. The next utterance begins."""
        fresh = self._beyond_committed(text)
        is_repetition = bool(self._committed) and not fresh and not self.partial
        repeated = len(text.split()) - len(fresh.split())
        self.begin()
        if is_repetition:
            return None
        return fresh, tuple(words[repeated:]) if len(words) == len(text.split()) else tuple(words)

    def commit(self) -> str:
        """Take the last partial for final: the recogniser owes its last word for too long. Returns it."""
        text, self.partial, self.is_stable = self.partial, "", False
        self._committed += [normal(word) for word in text.split()]
        self._least_words = 0
        return text

    def hear_again(self, *, has_committed: bool) -> None:
        """Another stream hears the utterance; `has_committed`: and some of what was committed. What it says first is no news."""
        self._least_words = len(self.partial.split())
        if not has_committed:
            self._committed.clear()
        self._is_again = has_committed

    def catch_up(self) -> None:
        """That stream has heard it all: what it says now is how it is."""
        self._least_words = 0

    def begin(self) -> None:
        """The next utterance."""
        self.partial, self.is_stable = "", False
        self._committed.clear()
        self._least_words, self._is_again = 0, False

    def _beyond_committed(self, text: str) -> str:
        """What a hypothesis says after the committed words."""
        said = text.split()
        if not self._committed:
            return " ".join(said)
        count = repeated(self._committed, [normal(word) for word in said])
        if not count and said and not self._is_again:
            self._committed.clear()  # it has begun another utterance without finishing this one
        return " ".join(said[count:])


def repeated(before: Sequence[str], now: Sequence[str]) -> int:
    """How many words at the beginning of `now` are those of `before`, which a recogniser may have revised in part.

    All of `before` from its beginning, if half of the words agree; or else its end, if the beginning was not heard again.
    """
    pairs = list(zip(before, now, strict=False))
    if 2 * sum(was == word for was, word in pairs) >= len(pairs):
        return len(pairs)
    ends = (count for count in range(len(pairs), 0, -1) if list(before[-count:]) == list(now[:count]))
    return next(ends, 0)
