"""A set of stimuli: `manifest.json`, and for each item `<id>/input.wav`, the user's microphone, 16 kHz mono.

The layout is that of fdstim. The manifest says of each item when what happens in it, in seconds:

    events           `type` (context, interruption, backchannel, side_talk, background_speech, vocal_tic, noise, pause, turn_end),
                     `start`, `end`, and, where something is said, `text`
    text             what is said in a turn of several parts, spread over `speech_spans`
    silence_spans    silences inside such a turn (`hold`) and after it (`eot`)

A recogniser hears the words where they are; where there are none in the manifest, nothing is said.
"""

from __future__ import annotations

import dataclasses
import json
import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voicefsm.audio.samples import RATE_HZ, Samples
from voicefsm.errors import VoiceFsmError
from voicefsm.scripted import SpokenWord

MANIFEST = "manifest.json"
INPUT = "input.wav"
OUTPUT = "output.wav"
"""What the user heard, on the same time axis."""

Span = tuple[float, float]
"""From, to, in seconds."""


class NoStimuli(VoiceFsmError):
    """A directory is no set of stimuli."""


@dataclasses.dataclass(frozen=True, slots=True)
class Happening:
    """One event of an item."""

    kind: str
    subtype: str
    start_s: float
    end_s: float
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """A silence in or after a turn of several parts."""

    start_s: float
    end_s: float
    is_end: bool
    """The turn is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One recorded user."""

    id: str
    category: str
    duration_s: float
    happenings: tuple[Happening, ...]
    text: str = ""
    """Of a turn in several parts."""
    speech: tuple[Span, ...] = ()
    silences: tuple[Silence, ...] = ()

    def all(self, *kinds: str) -> list[Happening]:
        """The events of these kinds, in the order of the manifest."""
        return [happening for happening in self.happenings if happening.kind in kinds]

    def words(self, *kinds: str) -> list[SpokenWord]:
        """What is said, word by word: longer words take longer. In order of their beginning.

        `kinds`: in events of these kinds, and in the turn; in all of them when none is named.
        """
        events = [one for one in self.happenings if one.text and (not kinds or one.kind in kinds)]
        said = [word for one in events for word in _spread(one.text, [_span(one)])]
        said += [word for text, spans in self._parts() for word in _spread(text, spans)]
        return sorted(said, key=lambda word: (word.start_ms, word.end_ms))

    def _parts(self) -> Iterator[tuple[str, list[Span]]]:
        """The text of the turn between its pauses, and the speech it is spread over: people pause after a clause."""
        words, spans = self.text.split(), list(self.speech)
        total_s = sum(end - start for start, end in spans)
        weights = np.cumsum([len(word) + 1.0 for word in words])
        for pause in self.all("pause"):
            part = [span for span in spans if span[1] <= pause.start_s + _SLACK_S]
            spans = spans[len(part) :]
            spoken_s = total_s - sum(end - start for start, end in spans)
            at = _clause_end(words, len(self.text.split()) - len(words), weights / weights[-1] * total_s, spoken_s)
            if part and at:
                yield " ".join(words[:at]), part
                words = words[at:]
        if words and spans:
            yield " ".join(words), spans


_SLACK_S = 0.05
_CLAUSE_WORDS = 4
"""How far from its share of the time a clause may end, in words."""


def _clause_end(words: Sequence[str], before: int, ends_s: Sequence[float], spoken_s: float) -> int:
    """How many of `words`, of which `before` were taken already, are spoken by then: to the nearest end of a clause."""
    share = int(np.searchsorted(ends_s, spoken_s, side="right")) - before
    clauses = [k + 1 for k, word in enumerate(words) if word[-1] in ",.;:?!"]
    near = [k for k in clauses if abs(k - share) <= _CLAUSE_WORDS]
    return min(near, key=lambda k: abs(k - share)) if near else max(0, min(share, len(words)))


@dataclasses.dataclass(frozen=True, slots=True)
class Stimuli:
    """A set."""

    root: Path
    name: str
    items: tuple[Item, ...]

    def audio(self, item: Item) -> Samples:
        """The user's microphone. Raises `NoStimuli`."""
        return read_wav(self.root / item.id / INPUT)


def load(root: Path) -> Stimuli:
    """The set in a directory. Raises `NoStimuli`."""
    try:
        manifest = json.loads((root / MANIFEST).read_text())
        items = tuple(item_of(entry) for entry in manifest["items"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"Name a directory with a {MANIFEST} in fdstim's layout."
        raise NoStimuli(f"{root} holds no stimuli: {type(error).__name__}: {error}.", remedy=remedy) from error
    return Stimuli(root, str(manifest.get("generator", root.name)), items)


def item_of(entry: Mapping[str, Any]) -> Item:
    """An item from its entry in the manifest."""
    return Item(
        id=entry["id"],
        category=entry["category"],
        duration_s=float(entry["duration_s"]),
        happenings=tuple(
            Happening(one["type"], one.get("subtype") or "", float(one["start"]), float(one["end"]), one.get("text") or "")
            for one in entry["events"]
            if "type" in one
        ),
        text=entry.get("text") or "",
        speech=tuple((float(start), float(end)) for start, end in entry.get("speech_spans", ())),
        silences=tuple(
            Silence(float(one["start"]), float(one["end"]), is_end=one["label"] == "eot") for one in entry.get("silence_spans", ())
        ),
    )


def _span(happening: Happening) -> Span:
    return happening.start_s, happening.end_s


def _spread(text: str, spans: Sequence[Span]) -> Iterator[SpokenWord]:
    """The words of a text over stretches of speech, each as long as its letters; a word begins and ends in one stretch."""
    words = text.split()
    total_s = sum(end - start for start, end in spans)
    weights = np.array([len(word) + 1.0 for word in words])
    ends_s = np.cumsum(weights) / weights.sum() * total_s
    for word, end_s, weight in zip(words, ends_s, weights, strict=True):
        length_s = weight / weights.sum() * total_s
        start_ms, end_ms = (_place_ms(at_s, spans) for at_s in (end_s - length_s * 0.999, end_s * 0.9999))
        yield SpokenWord(word, max(start_ms, end_ms - round(length_s * 1000)), end_ms)


def _place_ms(spoken_s: float, spans: Sequence[Span]) -> int:
    """The moment at which so much speech has been heard."""
    for start, end in spans:
        if spoken_s <= end - start:
            return round((start + spoken_s) * 1000)
        spoken_s -= end - start
    return round(spans[-1][1] * 1000)


# --- audio files -------------------------------------------------------------------------------------------------------------


def read_wav(path: Path) -> Samples:
    """16 kHz mono PCM16. Raises `NoStimuli`."""
    try:
        with wave.open(str(path), "rb") as file:
            shape = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError) as error:
        raise NoStimuli(f"{path} cannot be read: {error}.", remedy="Make the set again.") from error
    if shape != (RATE_HZ, 1, 2):
        raise NoStimuli(f"{path} is not 16 kHz mono PCM16 but {shape}.", remedy="Convert it.")
    return np.frombuffer(data, "<i2").astype(np.int16)


def write_wav(path: Path, samples: Samples) -> None:
    """16 kHz mono PCM16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
