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
import re
import unicodedata
from collections.abc import Collection, Mapping
from functools import cached_property


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """What short utterances mean in one language. Phrases are lower case, without punctuation."""

    backchannels: frozenset[str]
    """The user follows; never a turn of its own."""
    stops: frozenset[str]
    """The user wants silence."""

    def content_words(self, text: str, *, is_open: bool = False) -> int:
        """The number of words that belong to no backchannel.

        `is_open`: the text may go on, so that words at its end which begin a backchannel ("I" of "I see") do not count yet.
        """
        if not text:  # as in most steps
            return 0
        rest = self._begun.sub("", text) if is_open else text
        return len([word for word in self._phrases.sub("", rest).split() if word not in self.backchannels])

    def has_stop(self, text: str) -> bool:
        """Whether a stop phrase stands in the text at word boundaries."""
        return self._stops.search(text) is not None

    @cached_property
    def _phrases(self) -> re.Pattern[str]:
        """A backchannel of more than one word."""
        return _one_of({phrase for phrase in self.backchannels if " " in phrase})

    @cached_property
    def _begun(self) -> re.Pattern[str]:
        """What a backchannel of several words begins with, at the end of a text."""
        words = [phrase.split() for phrase in self.backchannels]
        return _one_of({" ".join(phrase[:count]) for phrase in words for count in range(1, len(phrase))}, then=r"\Z")

    @cached_property
    def _stops(self) -> re.Pattern[str]:
        return _one_of(self.stops)


def _one_of(phrases: Collection[str], then: str = "") -> re.Pattern[str]:
    """Any of these at word boundaries; where several begin, the longest."""
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S){then}")


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
    if not text.strip():  # as in most steps
        return ""
    composed = unicodedata.normalize("NFC", text.lower()).translate(_PLAIN)
    return " ".join(_WORD.findall(composed))


_PLAIN = {ord("\N{RIGHT SINGLE QUOTATION MARK}"): "'", ord("\N{NON-BREAKING HYPHEN}"): "-"}
"""Typography, as one is used to write it by hand."""
_WORD = re.compile(r"(?:[^\W_]|[\u0900-\u0963])(?:[-']*(?:[^\W_]|[\u0900-\u0963])+)*")
"""Devanagari vowel signs, virama and nukta are combining marks: neither letters nor punctuation."""
