"""What short utterances mean, language by language: the user follows, or wants silence.

Rules for an entry
------------------
- A *backchannel* is something that listeners say while somebody else speaks, and that asks for nothing. "No" is none, in any
  language: it contradicts.
- A *stop* is said to make somebody fall silent. It confirms inside any sentence, soft ones too; so a word that is as often said for
  something else does not stand alone here (es "para" is "for", de "halt" a particle, fr "assez" "rather"). Said alone and clearly
  it still cancels, since it is no backchannel.
- Entries are in the form of `normal`. Recognisers write accents; where some do not, both spellings stand.

English has been tried with synthetic speech through a recogniser, the others as text only.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Lexicon:
    """What short utterances mean in one language. Phrases are lower case, without punctuation."""

    backchannels: frozenset[str]
    """The user follows; never a turn of its own."""
    stops: frozenset[str]
    """The user wants silence."""

    def content_words(self, text: str, *, is_open: bool = False) -> int:
        """The number of words that belong to no backchannel. Longer phrases are looked for first.

        `is_open`: the text may go on, so that words at its end which begin a backchannel ("I" of "I see") do not count yet.
        """
        rest = _spaced(self._without_beginning(text) if is_open else text)
        for phrase in _phrases(self.backchannels):
            rest = rest.replace(phrase, " ")
        return sum(word not in self.backchannels for word in rest.split())

    def _without_beginning(self, text: str) -> str:
        """The text without the beginning of a backchannel at its end."""
        for phrase in _beginnings(self.backchannels):
            if f" {text}".endswith(phrase):
                return text.removesuffix(phrase.strip())
        return text

    def has_stop(self, text: str) -> bool:
        """Whether a stop phrase stands in the text at word boundaries."""
        return any(f" {stop} " in f" {text} " for stop in self.stops)


@functools.cache
def _phrases(backchannels: frozenset[str]) -> tuple[str, ...]:
    """Those of more than one word, ready to be cut out, longest first. One result per lexicon."""
    return tuple(_spaced(phrase) for phrase in sorted(backchannels, key=lambda phrase: (-len(phrase), phrase)) if " " in phrase)


@functools.cache
def _beginnings(backchannels: frozenset[str]) -> tuple[str, ...]:
    """Everything that a backchannel of several words can begin with, after a space, longest first."""
    words = [phrase.split() for phrase in backchannels]
    begun = {" " + " ".join(phrase[:count]) for phrase in words for count in range(1, len(phrase))}
    return tuple(sorted(begun, key=lambda beginning: (-len(beginning), beginning)))


def _spaced(text: str) -> str:
    """Each word between spaces of its own, so that neighbours can be cut out one by one."""
    return "".join(f" {word} " for word in text.split())


ENGLISH = Lexicon(
    backchannels=frozenset(
        "mm mmm mhm mm-hm mm-hmm mmhmm hmm hm uh-huh uhhuh uh huh um er erm eh ah aha oh okay ok yeah yep yes yup right sure wow "
        "cool nice great alright really indeed".split()
    )
    | {"i see", "of course", "all right", "go on", "got it", "uh huh"},
    stops=frozenset({"stop", "wait", "hold on", "hang on", "shut up", "be quiet", "cancel", "enough", "never mind", "excuse me"}),
)
HINDI = Lexicon(
    backchannels=frozenset("हाँ हां जी हम्म हूँ हूं अच्छा ठीक सही ओके ओह वाह बिल्कुल".split()) | {"ठीक है", "जी हाँ", "जी हां", "अच्छा जी"},
    stops=frozenset({"रुको", "रुकिए", "ठहरो", "बस", "चुप", "एक मिनट", "सुनो", "सुनिए", "बंद करो"}),
)
SPANISH = Lexicon(
    backchannels=frozenset(
        "mm mmm mhm mm-hm hm hmm ajá aja ah aah eh oh uh em sí si ya vale claro bueno bien ok okay okey exacto exactamente "
        "cierto correcto genial perfecto entiendo entendido comprendo vaya seguro".split()
    )
    | {"de acuerdo", "por supuesto", "ya veo", "está bien", "muy bien", "claro que sí", "así es", "qué bien", "desde luego"},
    stops=frozenset(
        {"para ya", "para por favor", "pare por favor", "páralo", "detente", "deténgase", "espera", "espere", "un momento"}
        | {"un segundo", "basta", "cállate", "cállese", "silencio", "cancela", "cancelar", "déjalo", "perdona", "disculpa"}
        | {"disculpe", "stop"}
    ),
)
GERMAN = Lexicon(
    backchannels=frozenset(
        "mm mmm mhm mm-hm hm hmm aha ah äh ähm oh ach achso ja jo jawohl genau ok okay gut schön klar stimmt richtig sicher "
        "toll super prima wirklich echt natürlich verstehe verstanden".split()
    )
    | {"ach so", "ach ja", "na ja", "na gut", "alles klar", "ich verstehe", "ich weiß", "sehr gut", "in ordnung", "das stimmt"},
    stops=frozenset(
        {"stopp", "stop", "halt mal", "halt an", "halt bitte", "warte", "warten sie", "moment mal", "einen moment"}
        | {"moment bitte", "augenblick", "genug", "ruhe", "sei still", "seien sie still", "hör auf", "hören sie auf", "aufhören"}
        | {"abbrechen", "vergiss es", "vergessen sie es", "schluss", "das reicht", "es reicht", "entschuldigung"}
    ),
)
FRENCH = Lexicon(
    backchannels=frozenset(
        "mm mmm mhm mm-hm hm hmm hum euh heu ah oh eh oui ouais ok okay d'accord bien bon voilà exact exactement super "
        "génial vrai vraiment certes entendu compris parfait évidemment".split()
    )
    | {"je vois", "je comprends", "bien sûr", "c'est ça", "c'est vrai", "tout à fait", "en effet", "ça marche", "très bien"}
    | {"ah bon"},
    stops=frozenset(
        {"stop", "arrête", "arrêtez", "attends", "attendez", "un instant", "un moment", "une seconde", "tais-toi", "taisez-vous"}
        | {"silence", "ça suffit", "annule", "annulez", "laisse tomber", "laissez tomber", "excuse-moi", "excusez-moi"}
    ),
)
LEXICONS: Mapping[str, Lexicon] = {"de": GERMAN, "en": ENGLISH, "es": SPANISH, "fr": FRENCH, "hi": HINDI}
"""By primary language subtag."""


def lexicon_of(language_code: str) -> Lexicon:
    """The lexicon for a BCP-47 tag; English where we have none, since its interjections travel furthest."""
    return LEXICONS.get(language_code.partition("-")[0].lower(), ENGLISH)


def normal(text: str) -> str:
    """Lower case, no punctuation but inner hyphens and apostrophes, single spaces."""
    composed = unicodedata.normalize("NFC", text.lower()).translate(_PLAIN)
    kept = "".join(c if c.isalnum() or c in "-'" or c.isspace() or _is_mark(c) else " " for c in composed)
    return " ".join(filter(None, (word.strip("-'") for word in kept.split())))


_PLAIN = {ord("\N{RIGHT SINGLE QUOTATION MARK}"): "'", ord("\N{NON-BREAKING HYPHEN}"): "-"}
"""Typography, as one is used to write it by hand."""


def _is_mark(char: str) -> bool:
    """Devanagari vowel signs, virama and nukta are combining marks: neither letters nor punctuation."""
    return "\u0900" <= char <= "\u0963"
