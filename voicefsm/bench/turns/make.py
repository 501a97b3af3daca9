"""The project's own stimuli: small, made in seconds, so that `bench turns` needs nothing from elsewhere.

A user asks, the assistant answers at length, and into the answer comes something: an interruption, a murmur, words to somebody
else, somebody else's words, a cough, a noise. Two categories are turns alone: one with a pause in it, one without; one is an
interruption in noise, one comes before the answer; in one the user asks and listens. The layout and
the meaning of the categories are fdstim's; texts, voices and sounds are the project's own. Everything follows from the seed and
the voices that are installed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import Signal, at_active_level, gain, pcm, room_noise, through
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.turns import voices
from voicefsm.bench.turns.stimuli import INPUT, MANIFEST, Stimuli, load, write_wav
from voicefsm.bench.turns.voices import UserVoice

SEED = 5
ITEMS = 6
"""Of each category."""
LEAD_S, GAP_S, TAIL_S = 0.5, 4.0, 5.0
"""Before the question; from its end to the event; after the event."""
SIDE_DB, FAR_DB = -8.0, -15.0
"""How much quieter somebody is who speaks to somebody else, or in the background."""
LEVEL_SPREAD_DB = 5.0
"""Users speak so much louder or softer than `voices.LEVEL_DB`."""
SNRS_DB = (15.0, 10.0, 5.0)
"""User over noise, where it is noisy."""
TALKERS = 5
"""People who talk all at once."""
LISTENING_QUESTIONS, LISTENING_S = 3, 27.0
"""Who listens asks so often, and listens for so long: to the end of the answer."""
EARLY_S = (0.7, 2.0)
"""From the end of a question to the user's second thought."""
ROOM_NOISE_DB = -72.0
"""Of the microphone's own room, dB full scale."""

_QUESTIONS = (
    "How does a lighthouse find ships in the fog?",
    "Why do cats sleep through most of the day?",
    "What is the story behind the old clock tower?",
    "How is paper made from a tree?",
    "Where does the salt in the ocean come from?",
    "How do I choose a good pair of skis?",
)
_INTERRUPTIONS = (
    "Does that also hold in the summer?",
    "No, I was asking about something else.",
    "Please be silent now, that is plenty.",
    "And who was the first to find out?",
    "Let me ask you a different question.",
    "Sorry, can you start again from there?",
)
_MURMURS = ("mm-hmm", "right", "uh-huh", "okay", "yeah", "I see")
_ASIDE = (
    "Mia, your shoes are under the bench.",
    "I will be down in five minutes, darling.",
    "No, the blue one belongs to Peter.",
    "Could somebody please open that window?",
    "Put the shopping over by the fridge.",
    "Have you seen my glasses anywhere?",
)
_ELSEWHERE = (
    "The museum closes its doors in a quarter of an hour.",
    "And now the traffic report for the southern districts.",
    "They painted the whole kitchen in a single afternoon.",
    "Boarding for row twenty and above begins right now.",
    "He told everyone that the bridge had been shut since May.",
    "The choir will sing two more songs after the break.",
)
_FIRST_PARTS = ("On Sunday I walked along the river with a friend,", "I was thinking about our trip to the islands,")
_SECOND_PARTS = ("and I would like to know how deep it is there.", "so tell me which month is the best for it.")


@dataclasses.dataclass(slots=True)
class _Track:
    """An item in the making."""

    voice: UserVoice
    other: UserVoice
    random: np.random.Generator
    number: int
    level_db: float
    """How much louder than usual the user is."""
    parts: list[tuple[int, Signal]] = dataclasses.field(default_factory=list)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    end_s: float = LEAD_S
    """Where the last sound ends."""
    bed_db: float | None = None
    """Level of a noise that never ends, dB full scale."""

    def put(self, at_s: float, sound: Signal, **event: Any) -> None:
        """Place a sound; what it is goes into the manifest."""
        first = round(at_s * RATE_HZ)
        self.parts.append((first, sound))
        self.end_s = (first + len(sound)) / RATE_HZ
        if event:
            self.events.append({**event, "start": round(first / RATE_HZ, 6), "end": round(self.end_s, 6)})

    def ask(self) -> None:
        """The question that begins most items."""
        text = _pick(_QUESTIONS, self.number)
        self.put(LEAD_S, self.voice.speak(text), type="context", text=text, voice=self.voice.name)

    def into_the_answer(self, sound: Signal, **event: Any) -> None:
        """Something that happens while the assistant speaks."""
        self.put(self.end_s + GAP_S + float(self.random.uniform(-0.5, 0.5)), sound, **event)

    def sound(self) -> Signal:
        """The microphone."""
        count = round((self.end_s + TAIL_S) * RATE_HZ)
        signal = room_noise(self.random, count, ROOM_NOISE_DB)
        if self.bed_db is not None:
            signal += at_active_level(_bed(self, count), self.bed_db)
        for first, part in self.parts:
            signal[first : first + len(part)] += part[: count - first] * gain(self.level_db)
        return signal


def make(root: Path, *, items: int = ITEMS, seed: int = SEED, speakers: Sequence[UserVoice] = ()) -> Stimuli:
    """Write the set into a directory, and load it. `speakers`: who speaks; whoever is installed."""
    speakers = speakers or voices.installed()
    entries = [_item(root, category, number, seed, speakers) for category in CATEGORIES for number in range(items)]
    manifest = {"generator": "voicefsm", "seed": seed, "voices": [one.name for one in speakers], "items": entries}
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return load(root)


def _item(root: Path, category: str, number: int, seed: int, speakers: Sequence[UserVoice]) -> dict[str, Any]:
    """Make one item; its entry in the manifest."""
    random = np.random.default_rng([seed, list(CATEGORIES).index(category), number])
    turn = number + number // len(_QUESTIONS)  # so that every voice says every text sooner or later
    voice, other = speakers[turn % len(speakers)], speakers[(turn + 1) % len(speakers)]
    track = _Track(voice, other, random, number, level_db=float(random.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB)))
    more = CATEGORIES[category](track)
    signal = track.sound()
    id_ = f"{category}/{number:03d}"
    write_wav(root / id_ / INPUT, pcm(signal))
    return {"id": id_, "category": category, "duration_s": len(signal) / RATE_HZ, "events": track.events, **more}


# --- the categories ----------------------------------------------------------------------------------------------------------


def _interruption(track: _Track) -> dict[str, Any]:
    track.ask()
    text = _pick(_INTERRUPTIONS, track.number)
    subtype = "stop" if "silent" in text else "other"
    track.into_the_answer(track.voice.speak(text), type="interruption", subtype=subtype, text=text)
    return {}


def _backchannel(track: _Track) -> dict[str, Any]:
    track.ask()
    text = _pick(_MURMURS, track.number)
    track.into_the_answer(track.voice.speak(text), type="backchannel", text=text)
    return {}


def _side_talk(track: _Track) -> dict[str, Any]:
    track.ask()
    text = _pick(_ASIDE, track.number)
    track.into_the_answer(_away(track.voice.speak(text), SIDE_DB, track), type="side_talk", text=text)
    return {}


def _background_speech(track: _Track) -> dict[str, Any]:
    track.ask()
    text = _pick(_ELSEWHERE, track.number)
    track.into_the_answer(_away(track.other.speak(text), FAR_DB, track), type="background_speech", text=text)
    return {}


def _tic(track: _Track) -> dict[str, Any]:
    """A cough: two bursts of breath."""
    track.ask()
    length = round(track.random.uniform(0.25, 0.4) * RATE_HZ)
    time = np.arange(length) / RATE_HZ
    breath = room_noise(track.random, length, -20.0) * (np.exp(-20 * time) + 0.5 * np.exp(-(((time - 0.18) / 0.05) ** 2)))
    track.into_the_answer(at_active_level(breath, voices.LEVEL_DB), type="vocal_tic", subtype="cough")
    return {}


def _noise(track: _Track) -> dict[str, Any]:
    """A door, or a machine that runs for a while."""
    track.ask()
    is_door = track.number % 2 == 0
    length = RATE_HZ // 2 if is_door else 3 * RATE_HZ
    noise = room_noise(track.random, length, -20.0)
    time = np.arange(length) / RATE_HZ
    shape = np.exp(-16 * time) if is_door else np.minimum(1, np.minimum(time, time[::-1]) / 0.05) * (1 + 0.5 * np.sin(40 * time))
    level_db = voices.LEVEL_DB if is_door else voices.LEVEL_DB - 12
    track.into_the_answer(at_active_level(noise * shape, level_db), type="noise", subtype="door" if is_door else "machine")
    return {}


def _noisy(track: _Track) -> dict[str, Any]:
    """An interruption in a place that is never quiet."""
    track.bed_db = voices.LEVEL_DB + track.level_db - SNRS_DB[track.number % len(SNRS_DB)]
    return _interruption(track)


def _early(track: _Track) -> dict[str, Any]:
    """The user goes on while the answer is being made, or has just begun."""
    track.ask()
    text = _pick(_INTERRUPTIONS, track.number)
    at_s = track.end_s + float(track.random.uniform(*EARLY_S))
    track.put(at_s, track.voice.speak(text), type="interruption", subtype="early", text=text)
    return {}


def _listening(track: _Track) -> dict[str, Any]:
    """Some questions, and nothing into the answers: what happens in them is the assistant's own doing."""
    for k in range(LISTENING_QUESTIONS):
        text = _pick(_QUESTIONS, track.number + k)
        at_s = track.end_s + LISTENING_S if k else LEAD_S
        track.put(at_s, track.voice.speak(text), type="context", text=text, voice=track.voice.name)
    track.end_s += LISTENING_S
    return {}


def _pause(track: _Track) -> dict[str, Any]:
    return _turn(track, float(track.random.uniform(0.5, 0.9)))


def _smooth(track: _Track) -> dict[str, Any]:
    return _turn(track, float(track.random.uniform(0.05, 0.25)))


def _turn(track: _Track, pause_s: float) -> dict[str, Any]:
    """A turn in two parts."""
    first, second = _pick(_FIRST_PARTS, track.number), _pick(_SECOND_PARTS, track.number)
    track.put(LEAD_S, track.voice.speak(first))
    pause = [round(track.end_s, 6), round(track.end_s + pause_s, 6)]
    track.put(pause[1], track.voice.speak(second))
    track.events.append({"type": "pause", "start": pause[0], "end": pause[1]})
    end_s = round(track.end_s, 6)
    track.events.append({"type": "turn_end", "start": end_s, "end": end_s})
    silences = [{"start": pause[0], "end": pause[1], "label": "hold"}, {"start": end_s, "end": end_s + TAIL_S, "label": "eot"}]
    return {"text": f"{first} {second}", "speech_spans": [[LEAD_S, pause[0]], [pause[1], end_s]], "silence_spans": silences}


CATEGORIES: dict[str, Callable[[_Track], dict[str, Any]]] = {
    "user_interruption": _interruption,
    "user_backchannel": _backchannel,
    "talking_to_other": _side_talk,
    "background_speech": _background_speech,
    "vocal_tic": _tic,
    "background_noise": _noise,
    "pause_handling": _pause,
    "smooth_turn_taking": _smooth,
    "noisy_interruption": _noisy,
    "early_interruption": _early,
    "listening": _listening,
}


def _bed(track: _Track, count: int) -> Signal:
    """Air, a machine, or people who talk all at once."""
    if track.number % 3 == 0:
        return room_noise(track.random, count, voices.LEVEL_DB)
    time = np.arange(count) / RATE_HZ
    if track.number % 3 == 1:
        hum = sum(np.sin(2 * np.pi * 100 * k * time + float(track.random.uniform(0, 6))) / k for k in range(1, 8))
        return np.asarray(hum + 0.1 * track.random.standard_normal(count))
    babble = np.zeros(count)
    for k in range(TALKERS):
        said = np.concatenate([track.other.speak(_pick(_ELSEWHERE, track.number + k + n)) for n in range(4)])
        babble += np.roll(np.resize(said, count), int(track.random.integers(count)))
    return babble


def _away(speech: Signal, level_db: float, track: _Track) -> Signal:
    """As the microphone hears somebody who does not speak to it: quieter, and from the room."""
    room = responses(random_room(int(track.random.integers(1 << 30))))
    heard = through(np.concatenate([speech, np.zeros(RATE_HZ // 5)]), room.near)
    return at_active_level(heard, voices.LEVEL_DB) * gain(level_db)


def _pick(texts: Sequence[str], number: int) -> str:
    return texts[number % len(texts)]
