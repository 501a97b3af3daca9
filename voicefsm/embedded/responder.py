"""The embedded "language model": rules, and it says so. A pure function of the messages of a conversation and of the time.

Theory of operation: the last thing the user said is brought to lower-case words, and the first rule of `RULES` whose pattern is
found in it, and which has something to say, answers. Patterns are keywords, never whole sentences, because they are matched
against what a recogniser made of what was said. Special rules stand above general ones: "stop, count to ten" is about counting.

There is no memory but the messages. What the assistant "has said" is what its messages say, and a voice server keeps only what was
heard in them; so "what was the last thing you told me?" and "go on" start from the last word that reached the user. Where an answer
has several wordings, the first one not heard yet is taken: the same messages always give the same answer.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from voicefsm.embedded.numerals import VALUE_MAX, find_numbers, fraction_in_words, in_words, ordinal, year
from voicefsm.embedded.phrases import NAMES
from voicefsm.embedded.tales import (
    ABOUT_ME,
    CANNOT_EXPLAIN,
    CAPITALS,
    EXPLANATIONS,
    FACTS,
    HELP,
    HOW_I_WORK,
    JOKES,
    POEMS,
    RIDDLES,
    SHORT_STORIES,
    STORIES,
)

QUOTED_WORDS_MIN, QUOTED_WORDS_MAX = 4, 16
"""How much of an answer is quoted when the user asks what was heard last."""
REPEATED_CHARS_MAX = 300
"""A longer answer is not said again as a whole."""
COUNT_MAX = 100
"""Numbers counted in one answer."""
COUNT_DEFAULT = 20
COUNT_GROUP = 5
"""Numbers in one breath."""
LOOK_BACK_MAX = 20
"""Messages searched for something to go on with."""
SAID_CHARS_MAX = 2000
"""A longer message of the user is read from here to its end only."""
_TAIL_WORDS = 8
"""So many words in a row say where in a text one is."""
_HEAD_WORDS = 8
"""So many words tell an answer from others."""
_HEAD_WORDS_MIN = 3
"""So few words only do when the text begins with them."""

_HEARD = "The last thing you heard from me was:"
_AGAIN = "I said:"
_BACK = ("Where was I? Ah yes.", "All right, I go on.", "Back to it, then.")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
_WORD = re.compile(r"[a-z0-9']+")


class Message(NamedTuple):
    """One message of the conversation."""

    role: str
    """system, user or assistant; others are not looked at."""
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What is to be answered."""

    said: str
    """The user's words, lower case, no punctuation, one blank between two."""
    messages: Sequence[Message]
    now: dt.datetime
    """Local time."""

    def earlier(self, role: str) -> Iterator[str]:
        """The messages of `role` before the question, the latest first; at most `LOOK_BACK_MAX`."""
        last = max((place for place, message in enumerate(self.messages) if message.role == "user"), default=0)
        found = (message.content for message in reversed(self.messages[:last]) if message.role == role and message.content.strip())
        return (content for content, _ in zip(found, range(LOOK_BACK_MAX), strict=False))

    @property
    def heard(self) -> str:
        """What the user heard last; empty at the beginning."""
        return next(self.earlier("assistant"), "").strip()

    def fresh(self, options: Sequence[str]) -> str:
        """The first option that was not heard yet, or the one that was heard the longest ago."""
        heard = [plain(text) for text in self.earlier("assistant")]
        ages = [next((age for age, text in enumerate(heard) if _begins(option, text)), len(heard)) for option in options]
        return options[ages.index(max(ages))]


def _begins(option: str, heard: str) -> bool:
    """Whether what was `heard`, whole or cut, began as `option` does."""
    head = " ".join(plain(option).split()[:_HEAD_WORDS])
    return heard.startswith(head) or head.startswith(f"{heard} ")


Answer = Callable[[Turn], str]
"""Empty when the rule has nothing to say after all."""


def respond(messages: Sequence[Message], now: dt.datetime) -> str:
    """The answer to the last message of the user; never empty."""
    content = next((message.content for message in reversed(messages) if message.role == "user"), "")
    # A user message may hold several turns, a line each, when nothing was heard between them: the last one counts first.
    lines = [line for line in content[-SAID_CHARS_MAX:].splitlines() if plain(line)]
    turn = Turn("", tuple(_split(messages)), now)
    for said in (plain(lines[-1]), plain(" ".join(lines))) if lines else ():
        turn = dataclasses.replace(turn, said=said)
        for pattern, answer in RULES:
            if pattern.search(said) and (text := answer(turn)):
                return text
    return turn.fresh(_NOTHING_HEARD if not lines else _FALLBACK)


def _split(messages: Sequence[Message]) -> Iterator[Message]:
    """Each line of the user as a message of its own."""
    for message in messages:
        if message.role == "user":
            yield from (Message("user", line) for line in message.content.splitlines() if line.strip())
        else:
            yield message


def plain(text: str) -> str:
    """Lower-case words with one blank between two: "What's 3+4?" becomes "what is 3 plus 4"."""
    text = text.casefold().replace("’", "'")  # noqa: RUF001, some clients write it
    for sign, word in _SIGNS:
        text = sign.sub(word, text)
    return " ".join(_WORD.findall(text.replace("'", "")))


_SIGNS = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"(?<=\d),(?=\d{3})", ""),
        (r"\+", " plus "),
        (r"(?<=\d)\s*[-−]\s*(?=\d)", " minus "),  # noqa: RUF001, a minus sign
        (r"(?<=\d)\s*[*x×]\s*(?=\d)", " times "),  # noqa: RUF001, a multiplication sign
        (r"(?<=\d)\s*[/÷]\s*(?=\d)", " divided by "),
        (r"\b(what|who|that|it|he|she|there|where|how)'s\b", r"\1 is"),
        (r"\bi'm\b", "i am"),
        (r"\blet's\b", "let us"),
        (r"\b(do|does|did|ca|is)n't\b", r"\1 not"),
    )
)


# --- what was heard ----------------------------------------------------------------------------------------------------------


def last_heard(turn: Turn) -> str:
    """The tail of the last answer, as far as it was heard."""
    if not turn.heard:
        return "I have not told you anything yet. Ask me for a story, and stop me whenever you like."
    return f"{_HEARD} {_quoted(_tail(_own_words(turn.heard)))}"


def say_again(turn: Turn) -> str:
    """The last answer once more, or its end."""
    text = _own_words(turn.heard)
    if not text:
        return "I have not said anything yet."
    return f"{_AGAIN} {text if len(text) <= REPEATED_CHARS_MAX else _tail(text)}"


def last_question(turn: Turn) -> str:
    """What the user said before."""
    before = next(turn.earlier("user"), "")
    return f"You said: {_quoted(_tail(before))}" if before else "That was the first thing you said to me."


def _own_words(heard: str) -> str:
    """Without what an answer about an answer puts around it, or quotes would pile up."""
    for frame in (_HEARD, _AGAIN):
        if heard.startswith(frame):
            return heard.removeprefix(frame).strip(' "') or heard
    return heard


def _tail(text: str) -> str:
    """The last sentence, or a few when it is short; the last words of a long one."""
    tail: list[str] = []
    for sentence in reversed(_SENTENCE_END.split(text)):
        tail[:0] = sentence.split()
        if len(tail) >= QUOTED_WORDS_MIN:
            break
    return " ".join(tail[-QUOTED_WORDS_MAX:])


def _quoted(text: str) -> str:
    """As a whole sentence, without quotation marks: nobody hears them."""
    text = text.replace('"', "").rstrip(" ,;:")
    return text if text.endswith((".", "?", "!")) else f"{text}."


# --- going on ----------------------------------------------------------------------------------------------------------------


def go_on(turn: Turn) -> str:
    """What comes after the last word that was heard of something long."""
    known = list(_known(turn))
    for heard in turn.earlier("assistant"):
        for text in known:
            place = _place(text, heard)
            if place == len(text):
                return turn.fresh(
                    ("That was all of it. Would you like to hear something else?", "There is no more of it, I am afraid.")
                )
            if place is not None:
                return f"{turn.fresh(_BACK)} {_rest(text, place)}"
    return _NOTHING_BEGUN


def start_again(turn: Turn) -> str:
    """Something long from its beginning."""
    known = list(_known(turn))
    places = (text for heard in turn.earlier("assistant") for text in known if _place(text, heard) is not None)
    return next(places, _NOTHING_BEGUN)


def _known(turn: Turn) -> Iterator[str]:
    """The texts that an earlier answer may have been a part of."""
    for request in turn.earlier("user"):
        if "count" in (said := plain(request)):
            yield count(dataclasses.replace(turn, said=said))
    yield from (*STORIES.values(), *SHORT_STORIES, *EXPLANATIONS.values())


def _place(text: str, heard: str) -> int | None:
    """Where in `text` one is after `heard`, the end of which it holds; None when it does not."""
    words, tail = [*_WORD.finditer(text.casefold())], _WORD.findall(heard.casefold())[-_TAIL_WORDS:]
    spelled = [match[0] for match in words]
    last = len(spelled) - len(tail) if len(tail) >= _HEAD_WORDS_MIN else 0
    found = (start for start in range(last + 1) if tail and spelled[start : start + len(tail)] == tail)
    start = next(found, None)
    if start is None:
        return None
    end = start + len(tail)
    return len(text) if end == len(words) else words[end].start()


def _rest(text: str, place: int) -> str:
    """From the beginning of the sentence that was cut; a count goes on with the next number."""
    if _is_count(text):
        return text[place].upper() + text[place + 1 :]
    begin = max((match.end() for match in _SENTENCE_END.finditer(text, 0, place)), default=0)
    return text[begin:]


def _is_count(text: str) -> bool:
    return len(find_numbers(plain(text[-60:]))) >= _HEAD_WORDS_MIN


# --- numbers and time --------------------------------------------------------------------------------------------------------


def count(turn: Turn) -> str:
    """Counting, five numbers a breath."""
    numbers = find_numbers(turn.said) or [COUNT_DEFAULT]
    is_down = bool(re.search(r"\b(down|backwards?)\b", turn.said))
    first, last = (numbers[-1], 0 if is_down else 1) if is_down else (1, numbers[-1])
    if "from" in turn.said.split():
        first, last = numbers[0], numbers[1] if len(numbers) > 1 else 0 if is_down else numbers[0] + COUNT_DEFAULT
    step = 1 if last >= first else -1
    values = range(first, last + step, step)
    said = [in_words(value) for value in values[:COUNT_MAX]]
    groups = (", ".join(said[at : at + COUNT_GROUP]) for at in range(0, len(said), COUNT_GROUP))
    counted = " ".join(f"{group[0].upper()}{group[1:]}." for group in groups)
    return counted if len(values) <= COUNT_MAX else f"{counted} That is enough for one breath."


def _count_if_asked(turn: Turn) -> str:
    return count(turn) if find_numbers(turn.said) or "count" in turn.said.split() else ""


def calculate(turn: Turn) -> str:
    """One step of arithmetic with the first two numbers."""
    numbers = find_numbers(turn.said)
    if len(numbers) < 2:  # noqa: PLR2004  # two operands
        numbers = find_numbers(turn.said.replace(" and ", " & "))  # "add a hundred and five"
    if len(numbers) < 2:  # noqa: PLR2004
        return ""
    word = next((word for word in _OPERATIONS if re.search(rf"\b{word}", turn.said)), "")
    left, right = map(Fraction, numbers[:2] if "from" not in turn.said.split() else numbers[1::-1])
    if word == "divid|over" and not right:
        return "Nothing can be divided by zero, not even by me."
    result = _OPERATIONS[word](left, right) if word else None
    if result is None or abs(result) > VALUE_MAX:
        return "" if result is None else "That is more than I can count to."
    return f"That is {fraction_in_words(result)}."


_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "times|multipl": lambda left, right: left * right,
    "divid|over": lambda left, right: left / right,
    "minus|subtract|take away|less": lambda left, right: left - right,
    "plus|add|sum|and": lambda left, right: left + right,
}


def tell_time(turn: Turn) -> str:
    """The time of this machine."""
    hour, minute = turn.now.hour, turn.now.minute
    part = next(part for until, part in _PARTS_OF_DAY if hour < until)
    minutes = " o'clock" if minute == 0 else f" {'oh ' if minute < 10 else ''}{in_words(minute)}"  # noqa: PLR2004
    return f"It is {in_words((hour - 1) % 12 + 1)}{minutes} {part}."


_PARTS_OF_DAY = ((5, "at night"), (12, "in the morning"), (18, "in the afternoon"), (22, "in the evening"), (24, "at night"))


def tell_date(turn: Turn) -> str:
    """The date of this machine."""
    now = turn.now
    return f"Today is {_DAYS[now.weekday()]}, the {ordinal(now.day)} of {_MONTHS[now.month - 1]}, {year(now.year)}."


# Not strftime's: those follow the locale, and the voice does not.
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = "January February March April May June July August September October November December".split()


# --- stories and explanations ------------------------------------------------------------------------------------------------


def story(turn: Turn) -> str:
    """A story: about what was asked for, if there is one, or else one not heard yet."""
    if re.search(r"\bshort\b", turn.said):
        return turn.fresh(SHORT_STORIES)
    return _about(STORIES, turn.said) or turn.fresh([*STORIES.values()])


def explanation(turn: Turn) -> str:
    """How something works."""
    return _about(EXPLANATIONS, turn.said)


def _about(texts: dict[str, str], said: str) -> str:
    return next((text for pattern, text in texts.items() if re.search(rf"\b(?:{pattern})\b", said)), "")


def capital(turn: Turn) -> str:
    """The capital of a country."""
    for country, city in CAPITALS.items():
        if country in turn.said.split():
            return f"The capital of {country.capitalize()} is {city}."
    return "I know the capitals of only a few countries, and that was none of them, or I misheard you."


# --- who is who --------------------------------------------------------------------------------------------------------------

_NAME_TOLD = re.compile(
    rf"\b(?:my name is|my names|call me) (?!(?:not|what|later|back|again|a|the|when|if|is)\b)(?P<told>[a-z]+)"
    rf"|\b(?:i am|this is|it is) (?P<known>{'|'.join(NAMES)})\b"
)


def remember_name(turn: Turn) -> str:
    """Greets by name."""
    name = _name_in(turn.said)
    options = (f"Nice to meet you, {name}. What would you like to do?", f"Hello {name}. I will remember your name.")
    return turn.fresh(options) if name else ""


def tell_name(turn: Turn) -> str:
    """The name the user gave."""
    name = _name(turn)
    return f"Your name is {name}." if name else "You have not told me your name yet. What is it?"


def greet(turn: Turn) -> str:
    """Hello."""
    name = f" {name}" if (name := _name(turn)) else ""
    return turn.fresh(
        (
            f"Hello{name}. What can I do for you? I can tell you a story, for example.",
            f"Hi{name}, I am here. Would you like a story, or shall I explain something?",
            f"Hello again{name}. What would you like to hear?",
        )
    )


def _name(turn: Turn) -> str:
    return next(filter(None, (_name_in(plain(text)) for text in turn.earlier("user"))), "")


def _name_in(said: str) -> str:
    found = None
    for found in _NAME_TOLD.finditer(said):  # noqa: B007, the last one counts
        pass
    return (found["told"] or found["known"]).capitalize() if found else ""


# --- the rules ---------------------------------------------------------------------------------------------------------------


def _one_of(*options: str) -> Answer:
    return lambda turn: turn.fresh(options)


def _stop(turn: Turn) -> str:
    return turn.fresh(
        (
            "All right, I have stopped. What would you like instead?",
            "Okay, I am quiet. Say go on, if you want the rest.",
            "Stopped.",
        )
        if turn.heard
        else ("All right. I will wait until you ask me something.", "Okay. I am quiet.")
    )


def _repeat_after(turn: Turn) -> str:
    words = turn.said.partition("after me")[2].strip()
    return f"{words.capitalize()}." if words else "Gladly. Say: repeat after me, and then some words."


_OFFER = (
    "Gladly. How about a story about a lighthouse, or shall I explain how a rainbow works?",
    "All right, something else. I could tell you a joke, or how a clock works.",
)
_NOTHING_BEGUN = "I am not in the middle of anything. Shall I tell you a story, or count to fifty?"
_FALLBACK = (
    "I did not understand that. I am only a set of rules, and no language model. Say help, and I will tell you what I can do.",
    "Sorry, I have no rule for that. You could ask me for a story, for the time, or how a rainbow works.",
    "That is beyond my rules. Shall I tell you a story, or count to fifty?",
)
_NOTHING_HEARD = ("I did not hear anything. Could you say that again?",)

RULES: tuple[tuple[re.Pattern[str], Answer], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})\b"), answer)
    for pattern, answer in (
        (r"repeat after me", _repeat_after),
        (r"what (did|do|have) i (\w+ )?(say|said|ask|asked|tell|told)|my (\w+ )?question", last_question),
        (
            (
                r"(the|your) last (?!question|story|one)\w+|thing you (said|told|say|tell)|"
                r"what (did|do|have|are|were|was) you (just |last )?(say|said|saying|tell|told|telling|talking)|"
                r"what was that|where (were|was|are) (we|you)|where did (you|we) stop"
            ),
            last_heard,
        ),
        (r"start (over|again|anew)|from the (beginning|start)|(story|tale) again", start_again),
        (
            r"(speak|talk|be) (\w+ )?(slower|slowly|faster|louder|quicker|up)|slower|louder|faster",
            _one_of(
                "I cannot change my voice from here, but it can be changed in the settings.",
            ),
        ),
        (r"(say|tell|what|it|that|once) (\w+ ){0,3}again|repeat\w*|pardon|sorry what|what sorry|say that|^again", say_again),
        (r"(continue|keep|go on|carry on) (with )?counting", go_on),
        (r"count(?!ry|ries)\w*", _count_if_asked),
        (r"plus|minus|times|over|sum|add|(what|much) (is|are) .* and|multipl\w+|divid\w+|subtract\w*|take away", calculate),
        (r"capital", capital),
        (
            (
                r"continue|go on|going on|carry on|keep going|finish|next|and then|then what|what (happens|happened)|"
                r"(?<!no )(?<!once )(?<!any )more(?! about (?!that|this|it))"
            ),
            go_on,
        ),
        (
            (
                r"(that|this|it|story|joke) (was|is) (\w+ ){0,2}(great|nice|good|interesting|funny|wonderful|beautiful|lovely)|"
                r"i (really )?(like|love|liked|loved)(?! to)"
            ),
            _one_of("Thank you. I am glad that you liked it.", "That is kind of you. Shall I go on with something else?"),
        ),
        (r"(story|stories|storey|storeys|tale|tales|fairy ?tale)", story),
        (r"explain\w*|how (do|does|is|are|did) .*work\w*|what (is|are)|about", explanation),
        (r"jokes?|funny|make me laugh", lambda turn: turn.fresh(JOKES)),
        (r"poems?|poetry|rhyme", lambda turn: turn.fresh(POEMS)),
        (r"riddles?", lambda turn: turn.fresh(RIDDLES)),
        (r"facts?|something (interesting|new)", lambda turn: turn.fresh(FACTS)),
        (r"(what|which) (day|date|year|month)|the date|todays? date|day is it|what is (the day|today)", tell_date),
        (r"(what|the|tell) (\w+ )?time|time is it|what o ?clock|how late is it", tell_time),
        (
            r"weather|rain|sunny|forecast",
            _one_of(
                "I do not know the weather. I have no window, and no connection to the world. Ask me how a rainbow works instead.",
            ),
        ),
        (r"(what is|know|remember|say|tell me) my name|who am i", tell_name),
        (r"my names? (is )?|call me|i am|this is|it is", remember_name),
        (r"how do you (work|do it|do that)|how does this work", lambda turn: turn.fresh(HOW_I_WORK)),
        (
            (
                r"who are you|what are you|your name|language model|"
                r"are you (\w+ ){0,2}(robot|machine|computer|person|human|real|model|ai)"
            ),
            lambda turn: turn.fresh(ABOUT_ME),
        ),
        (r"what (can|could|should|may) (you|i) (do|ask|say)|help\w*|what else", lambda turn: turn.fresh(HELP)),
        (r"something else|change the (subject|topic)|another (subject|topic)|different", lambda turn: turn.fresh(_OFFER)),
        (r"explain\w*|how (do|does|is|are|did) .*work\w*", lambda turn: turn.fresh(CANNOT_EXPLAIN)),
        (
            r"good ?bye|bye|good night|see you|have a (nice|good)|that is all|farewell",
            _one_of(
                "Goodbye. It was nice talking to you.",
                "See you soon. Take care.",
                "Goodbye again.",
            ),
        ),
        (
            r"how are you",
            _one_of(
                "I am well, thank you. All my rules are in order. How are you?",
                "Still well, thank you. What would you like to hear?",
            ),
        ),
        (
            r"hear me|here me|you there|are you listening|listening",
            _one_of(
                "Yes, I can hear you very well. What shall we talk about?",
                "Yes, loud and clear. Go ahead.",
                "Yes, I am listening.",
            ),
        ),
        (r"can i (ask|interrupt)|a question|ask you", _one_of("Of course. What would you like to know?", "Go ahead, ask me.")),
        (r"no thanks?|no thank you", _one_of("All right. Just tell me when you need something.", "That is fine.")),
        (r"thanks?|thank you", _one_of("You are welcome. Is there anything else?", "My pleasure.", "Any time.")),
        (r"hello|hallo|hi|hey|good (morning|afternoon|evening)", greet),
        (r"\w+", explanation),
        (
            r"stop\w*|wait|hold on|hang on|quiet|silence|shut|enough|never ?mind|cancel|pause|no more|do not (care|like|want)",
            _stop,
        ),
        (
            r"do not (know|understand)|confus\w+",
            _one_of(
                "Sorry. Let me say it simply: ask me for a story, or say help.",
                "That is all right. Shall I tell you something short?",
            ),
        ),
        (r"excuse me|sorry", _one_of("Yes? I am listening.", "No trouble at all. What is it?")),
        (r"no|nope|nah", _one_of("All right. What would you like instead?", "No? Fine with me.")),
        (
            r"yes|yeah|yep|sure|please|of course|absolutely|exactly|al+ ?right|okay|ok|right",
            _one_of(
                "Good. Would you like a story, or shall I explain something?",
                "Okay. What shall it be?",
                "Very well. I am listening.",
            ),
        ),
        (
            r"maybe|really|wow|cool|great|good|fine|nice|true|indeed|oh|ah|hm+|m+|mm+h?m*|mhm|uh|huh|see|got it|makes sense|well",
            _one_of(
                "I see. Just ask when you want to hear something.", "Indeed. What would you like to hear?", "Mm. I am listening."
            ),
        ),
    )
)
