"""What of one segment was heard: by the times of its words where the voice told them, by the share of its audio where it did not.

Theory of operation. Servers spell out what they speak ("1984"), and some leave out the time of a word, or of all words from some
moment on. So the words that have a time are looked for in the text. What lies between two that were found is counted by the words
spoken there, or, where none was timed, by the share of the time between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from voicefsm.lexicon import normal
from voicefsm.ports import SpokenWord

MS_PER_CHARACTER = 65
"""Speaking rate assumed for what has not been synthesised yet: 15 characters a second."""
WORD_MS_MAX = 1000
"""A voice that times words as it speaks has timed one by then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """How far one segment has come, from its first sample."""

    heard_ms: int
    made_ms: int
    is_whole: bool
    """All of it is synthesised."""


class SpokenText:
    """A text and the times of its words. Asked again and again while it is heard, so what does not change is found once."""

    def __init__(self, text: str, words: Sequence[SpokenWord]) -> None:
        """`words`: those that have a time."""
        self._tokens = text.split()
        self._sounding = [nth for nth, token in enumerate(self._tokens) if normal(token)]  # a dash has no time
        self._stretches = tuple(_stretches(words, [self._tokens[nth] for nth in self._sounding]))

    def heard(self, so_far: Rendered) -> tuple[str, bool]:
        """The words that were heard, and whether that is known by their times; else it is an estimate."""
        for stretch in self._stretches:
            if (found := stretch.count(so_far)) is not None:
                count, is_timed = found
                return " ".join(self._tokens[: self._sounding[count - 1] + 1 if count else 0]), is_timed
        return " ".join(self._tokens), True


def _stretches(words: Sequence[SpokenWord], said: Sequence[str]) -> Iterator[_Timed | _Untimed]:
    """Words with times and the text they stand for, in order, and what lies between them."""
    matcher = SequenceMatcher(None, [normal(word.text) for word in words], [normal(word) for word in said], autojunk=False)
    for _, first, end, begin, stop in matcher.get_opcodes():
        if first < end:
            yield _Timed(begin, stop, tuple(word.end_ms for word in words[first:end]), is_last=end == len(words))
        else:
            end_ms = words[first].end_ms if first < len(words) else None
            yield _Untimed(begin, stop, words[first - 1].end_ms if first else None, end_ms, said[begin : stop + 1])


@dataclasses.dataclass(frozen=True, slots=True)
class _Timed:
    """Words `begin` to `stop` of the text were spoken as words with these ends."""

    begin: int
    stop: int
    ends_ms: Sequence[int]
    is_last: bool
    """No later word has a time."""

    def count(self, so_far: Rendered) -> tuple[int, bool] | None:
        """How many words of the text were heard if it ends here; None if it was all heard, and more may have been."""
        heard, known = sum(end_ms <= so_far.heard_ms for end_ms in self.ends_ms), len(self.ends_ms)
        if self.is_last and not so_far.is_whole:
            known = max(known, self.stop - self.begin)  # words may come with their audio
        return None if heard == known else (self.begin + heard * (self.stop - self.begin) // known, True)


@dataclasses.dataclass(frozen=True, slots=True)
class _Untimed:
    """Nobody knows when words `begin` to `stop` of the text were spoken."""

    begin: int
    stop: int
    begin_ms: int | None
    """When the word before was over; None: there is none."""
    end_ms: int | None
    """When the word after was over; None: there is none."""
    said: Sequence[str]
    """They, and the word after."""

    def count(self, so_far: Rendered) -> tuple[int, bool] | None:
        """See `_Timed`. A voice that has timed words until now, and has not fallen behind, has not come to the end of the next."""
        begin_ms, characters = self.begin_ms or 0, len(" ".join(self.said))
        end_ms = so_far.made_ms if self.end_ms is None else self.end_ms
        if self.end_ms is None and not so_far.is_whole:
            if self.begin_ms is not None and so_far.made_ms - begin_ms <= WORD_MS_MAX:
                return self.begin, True
            end_ms = max(end_ms, begin_ms + characters * MS_PER_CHARACTER)
        elif so_far.heard_ms >= end_ms:
            return None
        fitting = characters * (so_far.heard_ms - begin_ms) / max(1, end_ms - begin_ms)
        return min(self.begin + _fitting(self.said, fitting), self.stop), False


def _fitting(words: Sequence[str], characters: float) -> int:
    """How many of these words fit."""
    return sum(len(" ".join(words[: nth + 1])) <= characters for nth in range(len(words)))
