"""From what a model writes to what a voice can say: sentences, as early as possible, without anything that is for the eye only.

Theory of operation: `SentenceCutter` scans what it has from the left and cuts at the first place that is surely the end of a unit.
Whether a place is an end depends on the text before it and on a fixed look ahead, never on how the text was cut into pieces on its
way here: any split gives the same sentences. "?", "!" and the marks of other scripts end a sentence by themselves. A full stop
must be seen to be followed by a space: that costs one token, some 10 ms, and saves "3.14", "example.com" and "e.g." from being
torn apart.

The first sentence of a reply may end at a comma, so that the voice can begin. A sentence of one word waits for the next one: some
voices swallow the end of a single word.

`speakable` then takes the markup out of each unit. Fenced code is not read at all; the cutter drops it, because it takes lines to
see.
"""

from __future__ import annotations

import html
import re
import unicodedata

FIRST_CLAUSE_CHARS_MIN = 24
"""The first sentence may end at a comma after this many characters: about 1.5 s of speech, enough to synthesise the next."""
SENTENCE_CHARS_MAX = 240
"""A longer sentence is cut between two words."""
LONE_WORD_CHARS_MAX = 12
"""A sentence of one word up to this long waits for the next sentence."""

_FORBIDDEN = "*{}<>#`_"
"""What never reaches the voice."""


# --- what can be said --------------------------------------------------------------------------------------------------------

_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s+\"[^\"]*\")?\)|\[[^\[\]]*\])")
_FOOTNOTE = re.compile(r"\[\^[^\]]*\]:?")
_URL = re.compile(r"<?\b(?:https?://|www\.)(?:www\.)?([\w-]+(?:\.[\w-]+)*)[^\s<>]*?([.,;:!?)\]\"']*)(?=[\s<>]|$)>?", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->")
_LINE_MARK = re.compile(r"^\s*(?:>\s*)*(?:#{1,6}\s+|[-*+•‣◦]\s+(?:\[[ xX]\]\s+)?)?")
_TIMES = re.compile(r"(?<=\d)\s*\*\s*(?=\d)")
_SHARP = re.compile(r"\b([A-GF])#(?=\W|$)")
_NUMBER_SIGN = re.compile(r"#(?=\d)")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)_+(?=\w)")
_EMOJI_PARTS = re.compile("[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_JOINERS = re.compile("(?<![\u0600-\u1fff])[\u200c\u200d]")
"""Zero-width joiners where no script needs them."""
_SPACE_BEFORE = re.compile(r"\s+([,.;:!?](?:\s|$))")
_LEADING = re.compile(r"^(?:[\s,;:!?…)\]\"”’、。！？।|~]|\.(?!\d)|[-–—]\s|'\s)+")  # noqa: RUF001, those are meant
_KEPT_SYMBOLS = frozenset("°©®™№℃℉")


def speakable(text: str) -> str:
    """One sentence or line of a model's text as a voice should say it; empty when nothing in it can be said."""
    text = html.unescape(text)
    text = _FOOTNOTE.sub(" ", _IMAGE_OR_LINK.sub(r"\1", text))
    text = _TAG.sub(" ", _URL.sub(r"\1\2", text))
    text = _table_row(_LINE_MARK.sub("", text))
    text = _NUMBER_SIGN.sub("number ", _SHARP.sub(r"\1 sharp", _TIMES.sub(" times ", text)))
    text = _BETWEEN_LETTERS.sub(" ", text)
    text = "".join(_said(char) for char in _EMOJI_PARTS.sub("", text))
    text = _JOINERS.sub("", text)
    text = _SPACE_BEFORE.sub(r"\1", " ".join(text.split()))
    text = _LEADING.sub("", text).strip()
    return text if any(char.isalnum() for char in text) else ""


def _said(char: str) -> str:
    """The character, or a space or nothing for one that cannot be said."""
    if char in "*`#_":
        return ""
    if char in "{}<>\\[]|":
        return " "
    match unicodedata.category(char):
        case "So":
            return char if char in _KEPT_SYMBOLS else ""
        case "Cc" | "Zl" | "Zp" | "Co" | "Cs" | "Cn":
            return " "
        case "Cf":
            return char if char in "\u200c\u200d" else ""
        case _:
            return char


def _table_row(text: str) -> str:
    """The cells of a table's row as a list; any other text as it is."""
    row = text.strip()
    if not row.startswith("|"):
        return text
    return ", ".join(cell.strip() for cell in row.strip("|").split("|") if any(char.isalnum() for char in cell))


# --- where a sentence ends ---------------------------------------------------------------------------------------------------

_ENDS = frozenset("?!")
_ENDS_ALONE = frozenset("।॥。！？｡؟۔")  # noqa: RUF001, those are meant
_CLAUSE_ENDS = frozenset(",;:")
_CLAUSE_ENDS_ALONE = frozenset("，、；：،؛")  # noqa: RUF001, those are meant
_CLOSERS = frozenset("\"'”’)]*_»」』")  # noqa: RUF001, those are meant
_PAIRS = (("(", ")"), ("“", "”"), ("«", "»"), ("「", "」"))
_OPENERS = "([{\"'“‘*_«¿¡"  # noqa: RUF001, those are meant
_FENCES = ("```", "~~~")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_NEVER_ENDS = frozenset(
    "mr mrs ms mx dr prof st sr sra srta mme mlle hr fr gen col capt lt sgt gov sen rep rev hon pres vs viz cf "
    "e.g i.e z.b d.h डॉ प्रो पं मो रु श्री कि.मी".split()
)
"""Abbreviations that something always follows."""
_MAY_END = frozenset(
    "etc inc ltd co corp llc dept approx est no fig vol ed al jr ave blvd rd mt ft jan feb mar apr jun jul aug sep sept oct nov "
    "dec mon tue wed thu fri sat sun usw bzw ca".split()
)
"""Abbreviations that end a sentence only before a capital."""
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_PLAIN_WORD_CHARS_MIN = 3
"""A full stop after a shorter word may belong to an abbreviation that nobody has listed."""


class SentenceCutter:
    """Cuts the text of one reply into sentences that can be said."""

    def __init__(
        self,
        *,
        first_clause_chars_min: int = FIRST_CLAUSE_CHARS_MIN,
        sentence_chars_max: int = SENTENCE_CHARS_MAX,
        is_eager: bool = False,
    ) -> None:
        """`is_eager`: the first sentence ends with its full stop, not with the token after it, unless the word is odd.

        Models give an address ("example", ".com") its dot together with what follows it.
        """
        self._is_eager = is_eager
        self._first_clause_chars_min = first_clause_chars_min
        self._sentence_chars_max = sentence_chars_max
        self._text = ""
        """What was not cut yet."""
        self._lone_word = ""
        """A sentence that waits for the next."""
        self._is_first = True
        self._is_line_start = True
        self._is_fenced = False

    def feed(self, piece: str) -> list[str]:
        """The sentences that `piece` completes, ready to be said."""
        self._text += piece
        return self._cut_all(is_over=False)

    def flush(self) -> list[str]:
        """The text is over: the rest."""
        sentences = self._cut_all(is_over=True)
        if self._lone_word:
            sentences.append(self._lone_word)
            self._lone_word = ""
        return sentences

    def _cut_all(self, *, is_over: bool) -> list[str]:
        sentences = []
        while self._text and (end := self._unit_end(is_over=is_over)) is not None:
            unit, self._text = self._text[:end], self._text[end:]
            if sentence := self._sentence(unit):
                self._is_first = False
                sentences.append(sentence)
        return sentences

    def _sentence(self, unit: str) -> str:
        """What is to be said of a unit, now; empty for nothing."""
        ends_line = unit.endswith("\n")
        is_fence = self._is_line_start and unit.lstrip(" \t").startswith(_FENCES)
        is_code, self._is_fenced = self._is_fenced or is_fence, self._is_fenced ^ is_fence
        self._is_line_start = ends_line
        said = "" if is_code else speakable(unit)
        said, self._lone_word = f"{self._lone_word} {said}".strip(), ""
        if not ends_line and len(said) <= LONE_WORD_CHARS_MAX and " " not in said and not _CJK.search(said):
            said, self._lone_word = "", said
        return said

    def _unit_end(self, *, is_over: bool) -> int | None:
        """Where the first unit ends; None when that cannot be told yet."""
        text, begin = self._text, len(self._text) - len(self._text.lstrip(" \t"))
        if self._needs_line(text[begin:], is_over=is_over):
            end = text.find("\n") + 1
            return end or (len(text) if is_over else None)
        is_eager = self._is_eager and self._is_first
        scan = _Scan(text, begin, is_over=is_over, is_line_start=self._is_line_start, is_eager=is_eager)
        for at in range(begin, min(len(text), begin + self._sentence_chars_max)):
            verdict = scan.end_of_sentence(at)
            if verdict is None:
                return None
            if not verdict and self._is_first and at - begin + 1 >= self._first_clause_chars_min:
                verdict = scan.end_of_clause(at)
                if verdict is None:
                    return None
            if verdict:
                return verdict
        if len(text) - begin > self._sentence_chars_max:
            return _between_words(text, begin, begin + self._sentence_chars_max)
        return len(text) if is_over else None

    def _needs_line(self, line: str, *, is_over: bool) -> bool:
        """Whether only a whole line can be judged: code, its fences, and what may yet become one."""
        if self._is_fenced:
            return True
        if not self._is_line_start:
            return False
        return line.startswith(_FENCES) or (not is_over and line in {"`", "``", "~", "~~"})


def _between_words(text: str, begin: int, end: int) -> int:
    """The best cut within the second half of text[begin:end]: after a clause, or else after a word, or else anywhere."""
    half = (begin + end) // 2
    clause = max(text.rfind(f"{mark} ", half, end) for mark in _CLAUSE_ENDS)
    return max(clause, text.rfind(" ", half, end)) + 1 if clause < 0 else clause + 1 if clause >= half else end


class _Scan:
    """One look at the text not cut yet. Answers are a place to cut, 0 for "not here", None for "more text is needed to tell"."""

    def __init__(self, text: str, begin: int, *, is_over: bool, is_line_start: bool, is_eager: bool) -> None:
        self._text, self._begin, self._is_over, self._is_line_start = text, begin, is_over, is_line_start
        self._is_eager = is_eager

    def end_of_sentence(self, at: int) -> int | None:
        """Does a sentence end with the character at `at`?"""
        char = self._text[at]
        if char == "\n" or char in _ENDS_ALONE:
            return at + 1
        if char in _ENDS:
            return self._after_question(at)
        if char in ".…":
            return self._after_stop(at)
        return 0

    def end_of_clause(self, at: int) -> int | None:
        """Does a clause end with the character at `at`?"""
        char = self._text[at]
        if char in _CLAUSE_ENDS_ALONE:
            return at + 1
        if char not in _CLAUSE_ENDS:
            return 0
        following = self._char(at + 1)
        return None if following is None else at + 1 if following.isspace() else 0

    def _after_question(self, at: int) -> int | None:
        """At once, unless it stands in an address or within quotes or brackets that must be closed first."""
        if "://" in (word := self._word(at)) or word.startswith("www."):
            return 0
        if not self._is_open(at):
            return at + 1
        end = self._past_closers(at + 1)
        if end is None or end == at + 1:
            return None if end is None else 0
        return self._if_capital_follows(end)

    def _after_stop(self, at: int) -> int | None:
        end = self._past_closers(at + 1)
        if end is None:
            return at + 1 if self._is_eager and self._is_plain(at) else None
        following = self._char(end)
        if following is None or not following.isspace():
            return None if following is None else 0
        word = self._word(at).casefold()
        if word in _NEVER_ENDS or self._is_list_number(at) or (len(word) == 1 and word.isalpha() and word != "i"):
            return 0
        is_ellipsis = self._text[at] == "…" or word.endswith(".")
        if is_ellipsis or word in _MAY_END or _DOTTED.fullmatch(word):
            return self._if_capital_follows(end)
        return end

    def _if_capital_follows(self, end: int) -> int | None:
        """`end`, if what follows the space there may begin a sentence."""
        place = end
        while (following := self._char(place)) is not None and following in " \t":
            place += 1
        return None if following is None else 0 if following.islower() else end

    def _past_closers(self, place: int) -> int | None:
        while (char := self._char(place)) is not None and char in _CLOSERS:
            place += 1
        return None if char is None else place

    def _char(self, place: int) -> str | None:
        """The character there; a line end after the end of the text; None when there is none yet."""
        if place < len(self._text):
            return self._text[place]
        return "\n" if self._is_over else None

    def _word(self, at: int) -> str:
        """The word that ends before `at`, without what opens it."""
        start = at
        while start > self._begin and not self._text[start - 1].isspace():
            start -= 1
        return self._text[start:at].lstrip(_OPENERS)

    def _is_plain(self, at: int) -> bool:
        """Whether the full stop at `at`, the last character so far, follows a word that is nothing but a word."""
        word = self._word(at)
        is_known = word.casefold() in _NEVER_ENDS or word.casefold() in _MAY_END
        is_last = at + 1 == len(self._text) and self._text[at] == "."
        return is_last and word.isalpha() and len(word) >= _PLAIN_WORD_CHARS_MIN and not is_known and not self._is_open(at)

    def _is_list_number(self, at: int) -> bool:
        return self._is_line_start and self._text[self._begin : at].isdecimal()

    def _is_open(self, at: int) -> bool:
        """Whether quotes or brackets are open before `at`."""
        text = self._text[self._begin : at]
        return text.count('"') % 2 == 1 or any(text.count(opens) > text.count(closes) for opens, closes in _PAIRS)
