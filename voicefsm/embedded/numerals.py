"""English words for numbers, both ways: what a recogniser hears becomes a value, and a value becomes what a voice can say."""

from __future__ import annotations

import re
from fractions import Fraction

from voicefsm.embedded.phrases import ONES, TEENS, TENS

VALUE_MAX = 999_999_999
"""Largest number that is said in words."""
DECIMALS_MAX = 3

_UNITS = ("zero", *ONES, *TEENS)
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 10 * tens for tens, word in enumerate(TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip

_BELOW_100 = rf"(?:(?:{'|'.join(TENS)})(?: (?:{'|'.join(ONES)})\b)?|(?:{'|'.join(reversed(_UNITS))}))"
_BELOW_1000 = rf"(?:(?:(?:{_BELOW_100}|a) )?hundred(?:(?: and)? {_BELOW_100}\b)?|{_BELOW_100})"
_NUMBER = re.compile(rf"\b(?:\d{{1,9}}|(?:(?:{_BELOW_1000}|a) )?thousand(?:(?: and)? {_BELOW_1000}\b)?|{_BELOW_1000})\b")


def find_numbers(said: str) -> list[int]:
    """The numbers in lower-case words without punctuation, in their order; "twenty one" is one of them, "one two" are two."""
    return [_value(match[0].split()) for match in _NUMBER.finditer(said)]


def _value(words: list[str]) -> int:
    """Of the words of one number."""
    if words[0].isdecimal():
        return int(words[0])
    thousands = below = 0
    for word in words:
        if word == "thousand":
            thousands, below = 1000 * max(below, 1), 0
        elif word == "hundred":
            below = 100 * max(below, 1)
        else:
            below += _VALUES.get(word, 0)  # "a" and "and" add nothing
    return thousands + below


def in_words(value: int) -> str:
    """`value` as it is said. Raises `ValueError` beyond `VALUE_MAX` either way."""
    if abs(value) > VALUE_MAX:
        raise ValueError(f"{value} is beyond what is said in words")
    if value < 0:
        return f"minus {in_words(-value)}"
    if value < 20:  # noqa: PLR2004  # the words up to nineteen are irregular
        return _UNITS[value]
    if value < 100:  # noqa: PLR2004
        tens, ones = divmod(value, 10)
        return TENS[tens - 2] + (f"-{_UNITS[ones]}" if ones else "")
    scale = next(word for word, size in reversed(_SCALES.items()) if value >= size)
    many, rest = divmod(value, _SCALES[scale])
    return f"{in_words(many)} {scale}" + (f" {in_words(rest)}" if rest else "")


def fraction_in_words(value: Fraction) -> str:
    """Like `in_words`, with up to `DECIMALS_MAX` decimals: "three point five", "about zero point three three three"."""
    rounded = round(value, DECIMALS_MAX)
    whole, rest = divmod(abs(rounded), 1)
    decimals = f"{int(rest * 10**DECIMALS_MAX):0{DECIMALS_MAX}d}".rstrip("0")
    said = in_words(int(whole)) + (" point " + " ".join(_UNITS[int(digit)] for digit in decimals) if decimals else "")
    return ("about " if rounded != value else "") + ("minus " if rounded < 0 else "") + said


def ordinal(value: int) -> str:
    """first, second, … of 1 to 99."""
    head, dash, last = in_words(value).rpartition("-")
    return head + dash + (_IRREGULAR.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"))


def year(value: int) -> str:
    """As years are said: "nineteen ninety-nine", "two thousand six", "twenty twenty-six"."""
    century, rest = divmod(value, 100)
    if rest == 0 or (century % 10 == 0 and rest < 10):  # noqa: PLR2004
        return in_words(value)
    return f"{in_words(century)} {'oh ' if rest < 10 else ''}{in_words(rest)}"  # noqa: PLR2004
