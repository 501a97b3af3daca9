"""A trigram model of a few thousand sentences, in the ARPA text format that pocketsphinx reads.

Smoothing is interpolated Witten-Bell: a history h that was followed by T(h) different words, c(h) times in all, gives

    p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h))          h' = h without its oldest word

so its back-off weight is exactly T(h) / (c(h) + T(h)). Sentences carry weights, hence the counts are fractions of a sentence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

START, END = "<s>", "</s>"
ORDER = 3
_LOG_ZERO = -99.0

Gram = tuple[str, ...]


class Ngrams:
    """Counts of up to `ORDER` words in a row, and the smoothed probabilities that follow from them."""

    def __init__(self, sentences: Iterable[tuple[str, float]]) -> None:
        """Count `sentences`: pairs of lower-case words separated by blanks, and a weight."""
        self.counts: dict[Gram, float] = defaultdict(float)
        for sentence, weight in sentences:
            self._count([START, *sentence.split(), END], weight)
        self.vocabulary = frozenset(gram[0] for gram in self.counts if len(gram) == 1)
        self._totals: dict[Gram, float] = defaultdict(float)
        self._followers: dict[Gram, int] = defaultdict(int)
        for gram, count in self.counts.items():
            self._totals[gram[:-1]] += count
            self._followers[gram[:-1]] += 1

    def _count(self, words: list[str], weight: float) -> None:
        for last in range(1, len(words)):
            for first in range(max(0, last + 1 - ORDER), last + 1):
                self.counts[tuple(words[first : last + 1])] += weight

    def probability(self, gram: Gram) -> float:
        """p(last word | the words before it); the empty history falls back on one over the vocabulary."""
        if not gram:
            return 1.0 / (len(self.vocabulary) + 1)
        history = gram[:-1]
        total, followers = self._totals[history], self._followers[history]
        lower = self.probability(gram[1:] if history else ())
        if total == 0.0:
            return lower
        return (self.counts.get(gram, 0.0) + followers * lower) / (total + followers)

    def back_off(self, history: Gram) -> float:
        """The weight of the shorter history where this one never saw the word."""
        total, followers = self._totals.get(history, 0.0), self._followers.get(history, 0)
        return followers / (total + followers) if followers else 1.0

    def arpa(self) -> Iterator[str]:
        """The model as lines of ARPA text."""
        grams = [sorted(g for g in self.counts if len(g) == order) for order in range(1, ORDER + 1)]
        grams[0] = sorted([*grams[0], (START,)])
        yield "\\data\\"
        yield from (f"ngram {order}={len(found)}" for order, found in enumerate(grams, 1))
        for order, found in enumerate(grams, 1):
            yield f"\n\\{order}-grams:"
            yield from (self._line(gram) for gram in found)
        yield "\n\\end\\\n"

    def _line(self, gram: Gram) -> str:
        log = _LOG_ZERO if gram == (START,) else math.log10(self.probability(gram))
        line = f"{log:.4f} {' '.join(gram)}"
        return line if len(gram) == ORDER else f"{line} {math.log10(self.back_off(gram)):.4f}"
