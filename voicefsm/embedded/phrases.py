"""What people say to this server, as a small grammar, and the sentences it stands for.

The recogniser mixes an n-gram model of these sentences with its model of general English (`language_model.py`), so that
what the rule-based responder can answer is heard best. It is a bias, not a fence: any English sentence can be recognised.

One pattern a line. `(a|b)` is a choice, `[a]` may be left out, `{number}` is a slot filled from `SLOTS`. Every pattern weighs
the same whatever it expands to, so that "what is {number} plus {number}" does not drown "hello".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

ONES = "one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

NAMES = (
    "adam alan alex alice amy andrew anna ben carla chris claire daniel david emily emma eric frank george grace hannah "
    "helen henry jack james jane jim john julia karen kate kevin laura linda lisa lucy maria mark martin mary max michael "
    "mike nick nina oliver paul peter rachel robert sam sarah simon sophie steve susan thomas tom victor"
).split()
TOPICS = (
    "a bicycle", "a rainbow", "the internet", "a refrigerator", "the moon", "the tides", "a telescope", "a battery", "a volcano",
    "an airplane", "a piano", "a clock", "a computer", "a microphone", "echo cancellation", "speech recognition", "a lighthouse",
    "photosynthesis", "an engine",
)  # fmt: skip
PLACES = (
    "england france germany spain italy japan china india canada australia brazil egypt greece norway sweden russia mexico".split()
)
TALES = (
    "a lighthouse", "the sea", "a dragon", "a cat", "a dog", "a robot", "the moon", "a king", "a princess", "a ship", "a clock",
)  # fmt: skip

SLOTS: dict[str, Sequence[str]] = {
    "number": [*ONES, *TEENS, *TENS, *(f"{ten} {one}" for ten in TENS for one in ONES), "a hundred", "one hundred", "a thousand"],
    "name": NAMES,
    "topic": TOPICS,
    "place": PLACES,
    "tale": TALES,
}

PATTERNS = """
(hello|hi|hey) [there]
good (morning|afternoon|evening)
[hello|hi|hey] (can|do) you hear me [now|okay]
(hello|hey) are you (there|listening)
[and] how are you [doing] [today]
who are you
what is your name
are you a (robot|machine|computer|person|human)
are you (real|a real person|a language model)
what can you do [for me]
what can i (ask|say) [you]
[can you|please] help [me]
my name is {name}
[hello|hi] i am {name}
[you can] call me {name}
what is my name
do you (know|remember) my name
who am i
what time is it [now|please]
what is the time [now|please]
[can you] tell me the (time|date)
what is the date [today]
what (day|date|year|month) is it [today]
what is today's date
(what is|how much is|what's) {number} (plus|minus|times|divided by|and|multiplied by) {number}
{number} (plus|minus|times|divided by) {number}
(add|multiply) {number} (and|by) {number}
[please] tell me a [long|short|new|different|good] story [please]
[can you|could you] tell me a [long|short] story [please]
tell me a story about {tale} [please]
tell me another story [please]
i want to hear a [long] story
i would like [to hear] a [long] story [please]
read me a story
tell me a (joke|poem|riddle|fact)
tell me something (interesting|funny|new)
tell me more [about that]
tell me about {topic}
[please|can you|now] count to {number} [please]
[please|can you] count from {number} to {number}
count (down|backwards) from {number}
[stop|no|wait] count to {number} instead
(keep|continue) counting
[can you|please] explain how {topic} works [please]
[can you|please] explain {topic} [to me] [please]
how does {topic} work
how do you work
what is {topic}
what is the capital of {place}
tell me the capital of {place}
what is the weather [like] [today]
stop
[please] stop [please|now|talking|it|that]
stop stop
[okay|no] (stop|wait)
wait [a (minute|second|moment)]
wait wait
wait (stop|no)
hold on [a (minute|second|moment)]
hang on
[please] be quiet
shut up
that is enough
enough
never mind
cancel [that]
pause
no [no|thanks|thank you]
stop what time is it
(stop|wait|no) [wait|stop] what time is it
(stop|wait) [please] count to {number}
wait stop count to {number}
wait (stop|no) what time is it
stop tell me a (joke|story)
[okay|no] stop [that] [and] tell me (the time|a joke|something else)
actually (what time is it|tell me a joke|never mind|stop)
excuse me
sorry [what|can i interrupt]
can i ask [you] [a question|something]
[i have] a question
(continue|go on|carry on|keep going) [please]
[please] (continue|go on|carry on|keep going)
[can you|please] finish the story
what happened next
what happens (next|then)
and then [what]
what (was|is) the last thing you (told me|said)
what did you [just] (say|tell me) [to me]
what was that
what were you saying
where (were|are) we
where did you stop
say that again [please]
[can you|could you|please] (repeat|say) that [again] [please]
(pardon|sorry|pardon me|excuse me) [what did you say]
what did i [just] (say|ask) [you]
what was my [last|first] question
[can you|please] speak (slower|faster|louder|more slowly|up)
change the subject
let us talk about something else
repeat after me
start (over|again)
(yes|no|maybe|sure|okay|all right|of course)
yes please
no thank you
(okay|ok|right|yeah|yes|yep|sure|great|good|fine|cool|nice|wow|really|alright|exactly|absolutely|true|indeed)
(mm|mhm|uh-huh|hmm|oh|ah)
(mm hm|mm hmm|uh huh|i see|got it|all right|that is right|oh really|oh wow|oh okay)
(makes sense|of course|very good|very nice|okay okay|yeah yeah)
[okay|great|good|no] thank you [very much|so much]
thanks [a lot]
that was (great|nice|good|interesting|funny|wonderful)
i (like|love) (that|it|this|the story)
i do not (know|understand|care|like it|like that)
(goodbye|bye|bye bye|good night|see you [later|soon|tomorrow])
[okay|thank you|thanks] goodbye
thank you and goodbye
have a nice day
that is all [for today|thank you|thanks]
"""

_TOKEN = re.compile(r"[()\[\]|]|[^()\[\]|]+")
_SLOT = re.compile(r"\{(\w+)\}")
_CLOSING = {"(": ")", "[": "]"}
_STRIDE = 7
"""The second slot of a sentence is filled this many values further on than the first, and so on: every value occurs in every
place without the product of all pairs."""


def sentences() -> Iterator[tuple[str, float]]:
    """Every sentence of every pattern, with its weight: the weights of one pattern add up to one."""
    for pattern in filter(None, PATTERNS.splitlines()):
        expansions = expand(pattern)
        for sentence in expansions:
            yield sentence, 1.0 / len(expansions)


def expand(pattern: str) -> list[str]:
    """All sentences a pattern stands for, without repetition, in a fixed order."""
    tokens = _TOKEN.findall(pattern)
    texts = _choices(tokens)
    if tokens:
        raise ValueError(f"unbalanced bracket in the pattern {pattern!r}")
    return list(dict.fromkeys(" ".join(filled.split()) for text in texts for filled in _fill(text)))


def _fill(text: str) -> Iterator[str]:
    """The sentence with its slots filled, once for each value of its longest slot."""
    names = _SLOT.findall(text)
    template = _SLOT.sub("{}", text)
    for turn in range(max((len(SLOTS[name]) for name in names), default=1)):
        values = (SLOTS[name][(turn + _STRIDE * place) % len(SLOTS[name])] for place, name in enumerate(names))
        yield template.format(*values)


def _choices(tokens: list[str]) -> list[str]:
    """Read `a|b|…` up to a closing bracket or the end."""
    found = _sequence(tokens)
    while tokens and tokens[0] == "|":
        tokens.pop(0)
        found += _sequence(tokens)
    return found


def _sequence(tokens: list[str]) -> list[str]:
    """Read one branch: plain words and brackets, one after the other."""
    parts: list[list[str]] = []
    while tokens and tokens[0] not in "|)]":
        parts.append(_item(tokens))
    return ["".join(words) for words in itertools.product(*parts)]


def _item(tokens: list[str]) -> list[str]:
    item = tokens.pop(0)
    if item not in _CLOSING:
        return [item]
    inner = _choices(tokens)
    if not tokens or tokens.pop(0) != _CLOSING[item]:
        raise ValueError(f"a bracket {item} is not closed")
    return inner if item == "(" else ["", *inner]
