"""The model of one session: everything `step` reads and writes, and nothing else.

A context is never registered with the `transitions` machine (see machine.py), compares by identity and costs a slot per field. It
holds numbers, short texts and settings; no audio, no tasks, no clock.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.effects import Effect
from voicefsm.events import UNKNOWN_DB, Evidence, Fact, Timer
from voicefsm.values import NO_EPOCH, Epoch, setting


class Stage(enum.Enum):
    """Where a machine stands. A key of its table in every step, and the library's own hash is written in Python."""

    __hash__ = object.__hash__


class State(Stage):
    """The states of the turn machine."""

    IDLE = "idle"
    LISTENING = "listening"
    PROCESSING = "processing"
    SPEAKING = "speaking"
    INTERRUPTING = "interrupting"
    CLOSED = "closed"


class NearEnd(Stage):
    """What the voice detector says."""

    QUIET = "quiet"
    SPEECH = "speech"


class Recognition(Stage):
    """The ASR stream."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    WAITING = "waiting"
    """Failed; waits before the next attempt."""
    FAILED = "failed"
    """Given up."""


class Generation(Stage):
    """The model's part in the live reply."""

    NONE = "none"
    WAITING = "waiting"
    """Asked, nothing came yet."""
    WRITING = "writing"
    CALLING = "calling"
    """Has asked for tools, and goes on when they have answered."""
    DONE = "done"
    FAILED = "failed"
    """Gave up, or was given up; it may be asked again while nothing is written."""


class Playout(Stage):
    """The client's part in the live reply."""

    NONE = "none"
    """No reply is alive."""
    SILENT = "silent"
    """Nothing of the reply was heard yet, and nothing holds it back."""
    HELD = "held"
    """Nothing was heard yet, and near-end speech holds unsent audio back."""
    AUDIBLE = "audible"
    """The client has heard some of it."""


class Interruption(enum.StrEnum):
    """When near-end speech may cut a reply off."""

    ENABLED = "enabled"
    CLIENT_ONLY = "client_only"
    DISABLED = "disabled"


class Excuse(enum.StrEnum):
    """What the user hears of a failure, in one reply."""

    NONE = "none"
    """Nothing has failed for good."""
    WORDS = "words"
    """The model has failed: an apology is the last sentence, where there is one in this language."""
    TONE = "tone"
    """The voice has failed: an earcon is the last sound."""


@dataclasses.dataclass(frozen=True, slots=True)
class TurnSettings:
    """How turns are taken. Every wait of the machine is bounded by one of these."""

    interruption: Interruption = setting(
        Interruption.ENABLED,
        unit="",
        doc="When near-end speech may cut a reply: enabled, client_only (only CancelTts and text), disabled (deaf while speaking).",
    )
    push_to_talk: bool = setting(False, unit="", doc="Only EndOfSpeech ends the user's turn; silence does not.")
    silence_ms: int = setting(500, unit="ms", ge=100, le=3000, doc="Silence after which the user's turn is over.")
    words_ms_max: int = setting(
        4000,
        unit="ms",
        ge=500,
        le=30000,
        doc="How long LISTENING may last without a recognised word before the floor is free again.",
    )
    final_ms_max: int = setting(
        1000, unit="ms", ge=100, le=10000, doc="How long to wait for the recogniser's final before the partial is taken instead."
    )
    wordless_ms_max: int = setting(
        1500,
        unit="ms",
        ge=300,
        le=10000,
        doc="How long speech may go on without a new word after the recogniser's final before the turn is over: it is noise.",
    )
    utterance_ms_max: int = setting(
        60000, unit="ms", ge=5000, le=600000, doc="The longest user turn; what was heard by then is answered."
    )
    first_sentence_ms_max: int = setting(
        10000, unit="ms", ge=500, le=120000, doc="How long the model may take to write its first speakable sentence."
    )
    first_heard_ms_max: int = setting(
        5000, unit="ms", ge=500, le=60000, doc="How long the first sentence may take from the model to the client's ear."
    )
    playout_stall_ms_max: int = setting(
        5000, unit="ms", ge=500, le=60000, doc="How long the client's playout may stand still while the assistant speaks."
    )
    verdict_ms_max: int = setting(
        360,
        unit="ms",
        ge=50,
        le=2000,
        doc="How long playout stays paused for speech that does not go on, or is not the user's; later speech may still cancel.",
    )
    decision_ms_max: int = setting(
        1500, unit="ms", ge=200, le=5000, doc="How long playout may stay paused before an interruption is decided."
    )
    duck_db: int = setting(
        0,
        unit="dB",
        ge=0,
        le=40,
        doc="How much quieter playout goes on while an interruption is undecided; 0 pauses it, as do clients that cannot duck.",
    )
    candidate_ms: int = setting(
        1000,
        unit="ms",
        ge=0,
        le=10000,
        doc="Speech within this time of earlier speech belongs to the same interruption; playout is paused for it twice at most.",
    )
    barge_in_quiet_ms: int = setting(
        80, unit="ms", ge=20, le=500, doc="Without a voiced frame for this long speech does not go on, once the verdict is due."
    )
    barge_in_lull_ms: int = setting(
        60,
        unit="ms",
        ge=20,
        le=500,
        doc="Silence after speech over our voice until the recogniser is asked for its words: before the verdict, if possible.",
    )
    barge_in_speech_ms_min: int = setting(
        800, unit="ms", ge=100, le=3000, doc="Near-end speech this long cancels a reply even without a recognised word."
    )
    barge_in_insist_ms_min: int = setting(
        3000,
        unit="ms",
        ge=500,
        le=10000,
        doc="Soft speech this long cancels a reply: who insists is talking to us.",
    )
    barge_in_soft_db: int = setting(
        5,
        unit="dB",
        ge=1,
        le=96,
        doc="Speech this much quieter than the user usually is counts as soft: to somebody else, perhaps.",
    )
    barge_in_far_db: int = setting(
        10, unit="dB", ge=1, le=96, doc="Speech this much quieter than the user usually is counts as somebody else's."
    )
    barge_in_echo_db_min: int = setting(
        3, unit="dB", ge=0, le=40, doc="The user is at least this much louder than the residual echo to be expected."
    )
    barge_in_gate_pct_min: int = setting(
        50, unit="%", ge=0, le=100, doc="Mean probability of near-end speech below which the gate's word is taken for echo."
    )
    barge_in_swing_db_min: int = setting(
        2,
        unit="dB",
        ge=0,
        le=20,
        doc="What rises less than this above its mean level is no speech; 0 takes everything for it.",
    )
    barge_in_words_min: int = setting(
        1, unit="words", ge=1, le=10, doc="This many recognised words, backchannels apart, cancel a reply."
    )
    barge_in_strange_words_min: int = setting(
        100,
        unit="words",
        ge=1,
        le=100,
        doc="This many recognised words that are not the reply's cancel it although the detector heard nobody speak; 100 is never. "
        "Only for lines without echo: a recogniser makes other words of what is left of our own voice.",
    )
    barge_in_onset_ms_min: int = setting(
        200,
        unit="ms",
        ge=0,
        le=1000,
        doc="Near-end speech shorter than this never cancels a reply, whatever words it seems to hold.",
    )
    guard_ms: int = setting(
        300, unit="ms", ge=0, le=3000, doc="Start of a reply in which words or twice the usual speech are needed to cancel it."
    )
    uninterruptible_ms: int = setting(
        0, unit="ms", ge=0, le=600000, doc="Start of every reply that speech does not interrupt (a notice); CancelTts and text do."
    )
    last_words_ms: int = setting(
        300, unit="ms", ge=0, le=3000, doc="End of a reply that is not paused any more: who speaks over it takes the turn after it."
    )
    idle_ms_max: int = setting(
        600000, unit="ms", ge=5000, le=86400000, doc="The longest time nobody says anything before the session is closed."
    )
    session_ms_max: int = setting(7200000, unit="ms", ge=10000, le=86400000, doc="The longest session.")
    asr_reopen_attempts_max: int = setting(
        600,
        unit="attempts",
        ge=0,
        le=100000,
        doc="How often a failed ASR stream is opened again in a row before the session is given up: for ten minutes.",
    )
    asr_reopen_ms_min: int = setting(100, unit="ms", ge=10, le=10000, doc="Wait before the first attempt; doubles with each.")
    asr_reopen_ms_max: int = setting(1000, unit="ms", ge=10, le=60000, doc="Longest wait between two attempts.")
    reply_retries_max: int = setting(
        2,
        unit="attempts",
        ge=0,
        le=10,
        doc="How often model and voice together are asked again for a reply of which nothing is written, or spoken, yet.",
    )
    reply_retry_ms_min: int = setting(
        200,
        unit="ms",
        ge=10,
        le=10000,
        doc="Wait before the first of these attempts, unless the server names one; doubles with each.",
    )
    reply_retry_ms_max: int = setting(
        2000, unit="ms", ge=10, le=60000, doc="Longest such wait; a server that asks for more is not asked again for this reply."
    )
    apology_en: str = setting(
        "Sorry, something went wrong. Please try again.",
        unit="characters",
        le=200,
        doc="What the user hears in English sessions when the model has failed; empty: an earcon if nothing else was said.",
    )
    apology_hi: str = setting(
        "माफ़ कीजिए, कुछ गड़बड़ हो गई। कृपया फिर से कोशिश कीजिए।",
        unit="characters",
        le=200,
        doc="The same in Hindi sessions. Sessions in other languages have the earcon.",
    )
    tool_ms_max: int = setting(
        10000, unit="ms", ge=100, le=300000, doc="How long the client may take for a tool before the model is told that it failed."
    )
    tool_rounds_max: int = setting(
        5,
        unit="rounds",
        ge=0,
        le=50,
        doc="How often the model may ask for tools in one reply; then it has to answer with what it knows.",
    )
    filler_ms: int = setting(
        1500,
        unit="ms",
        ge=0,
        le=60000,
        doc="Silence while a tool is at work after which the user is told to wait, once a reply; 0: never.",
    )
    filler_text: str = setting(
        "", unit="characters", le=200, doc="What is said then, in any language; empty: the phrase of the language, if it has one."
    )
    filler_en: str = setting(
        "One moment, please.", unit="characters", le=200, doc="What is said then in English sessions; empty: nothing."
    )
    filler_hi: str = setting("एक क्षण रुकिए।", unit="characters", le=200, doc="The same in Hindi sessions.")
    user_text_chars_max: int = setting(
        4000,
        unit="characters",
        ge=100,
        le=100000,
        doc="The longest user turn handed to the model; earlier words are dropped first.",
    )


SAID_CHARS_MAX = 1000
"""How much of a reply is kept to know its words again: more than lies between the voice and the recogniser."""
AUDIBLE_MS_MIN = 200
"""With this much left to render it is not for want of audio that playout stands still; positions are told in steps of 100 ms."""
NEVER = -1
"""The deadline of a timer that is not set."""


@dataclasses.dataclass(slots=True, eq=False)
class Context:
    """One session, as the core sees it."""

    settings: TurnSettings = TurnSettings()
    """Fixed for the session."""
    language_code: str = "en-US"
    """Chooses the backchannel lexicon."""

    state: State = State.IDLE
    """The turn machine."""
    near_end: NearEnd = NearEnd.QUIET
    recognition: Recognition = Recognition.CLOSED
    generation: Generation = Generation.NONE
    playout: Playout = Playout.NONE

    epoch: Epoch = NO_EPOCH
    """The live reply; `NO_EPOCH` when none is."""
    last_epoch: Epoch = NO_EPOCH
    """The last number given out."""
    deadlines: list[int] = dataclasses.field(default_factory=lambda: [NEVER] * len(Timer))
    """By `Timer`, on the *now* clock."""

    user_text: str = ""
    """Finalised words of the user that no reply answers yet."""
    partial: str = ""
    """The hypothesis for the utterance in progress."""
    agreed: str = ""
    """The words at its start that the hypothesis before it had as well: partials flicker, and only these are evidence."""
    partial_is_stable: bool = False
    """The recogniser's first pass says that the utterance is over."""
    taken: str = ""
    """A partial that was answered before its final came: the final repeats it."""
    is_mid_utterance: bool = False
    """The recogniser has begun an utterance and not finalised it."""
    is_overheard: bool = False
    """The hypothesis in progress began over our own voice, without a sign of the user: it may be our own words."""
    reply_ended_ms: int = NEVER
    """When the last reply that was heard ended."""
    has_audio: bool = False
    """The voice has delivered something of the live reply."""
    asked: str = ""
    """What the live reply answers, until the client hears it: a turn that goes on after all takes it back."""

    onset_ms: int = 0
    """When the current stretch of near-end speech began."""
    last_voiced_ms: int = 0
    """When the near end was last voiced."""
    evidence: Evidence = Evidence()
    """What is known about the current stretch of near-end speech, as far as it bears on a decision."""
    is_transcribed: bool = True
    """The recogniser has said something about the current stretch of speech."""
    usual_db: int = UNKNOWN_DB
    """The level of the user's speech, dB full scale, learned from the turns that were answered."""
    turn_voiced_ms: int = 0
    """Length of the longest stretch of speech in the user's unanswered turn …"""
    turn_db: int = UNKNOWN_DB
    """… and its level."""
    pauses: int = 0
    """How often playout was paused for the candidate in progress, or for the last one."""
    is_doubted: bool = False
    """The candidate in progress did not sound like the user when its verdict was due."""
    is_released: bool = False
    """The talk button was released after the user's unanswered words began."""

    said: str = ""
    """What the live reply says, as far as it was given to the voice, plain; of a long one the end."""
    sentences: int = 0
    """How many sentences of the live reply were given to the voice."""
    retries: int = 0
    """How often a backend was asked again for the live reply."""
    excuse: Excuse = Excuse.NONE
    """How the user learns that a backend gave up on the live reply; what was synthesised is played before it."""
    open_calls: tuple[str, ...] = ()
    """The calls of tools that the client has not answered."""
    rounds: int = 0
    """How often the model has asked for tools in the live reply."""
    bad_rounds: int = 0
    """How often there was something in it that cannot be called."""
    has_filler: bool = False
    """The user was told to wait."""
    heard_ms: int = 0
    """How much of the live reply the client rendered."""
    left_ms: int = 0
    """How much of it is synthesised and not rendered."""
    is_made: bool = False
    """All of it is synthesised."""

    opened_ms: int = 0
    """When the ASR stream was opened."""
    reopen_attempts: int = 0
    """Failed attempts in a row to keep the ASR stream open."""
    stale_dropped: int = 0
    """Facts dropped because their reply was over, or their timer was not set any more."""

    effects: list[Effect] = dataclasses.field(default_factory=list)
    """The orders of the step in progress."""
    raised: list[Fact] = dataclasses.field(default_factory=list)
    """What the machines tell each other in the step in progress."""

    def order(self, *effects: Effect) -> None:
        """Add to the orders of this step."""
        self.effects.extend(effects)

    def arm(self, timer: Timer, at_ms: int) -> None:
        """Set a deadline."""
        self.deadlines[timer] = at_ms

    def disarm(self, *timers: Timer) -> None:
        """Clear deadlines."""
        for timer in timers:
            self.deadlines[timer] = NEVER

    def is_armed(self, timer: Timer) -> bool:
        """Whether a deadline is set."""
        return self.deadlines[timer] != NEVER

    def clipped(self, words: str) -> str:
        """The user's words within their limit; the earliest are dropped, whole where there are spaces."""
        words, chars_max = words.strip(), self.settings.user_text_chars_max
        if len(words) <= chars_max:
            return words
        kept = words[-chars_max:]
        return kept.partition(" ")[2] or kept

    @property
    def has_something_to_hear(self) -> bool:
        """Whether the live reply says anything, or something stands in its place."""
        return self.sentences > 0 or self.excuse is not Excuse.NONE

    @property
    def is_dry(self) -> bool:
        """Whether playout, if it stands still, does so for want of audio."""
        return self.left_ms < AUDIBLE_MS_MIN and not self.is_made

    def apology(self) -> str:
        """What is said when the model has failed; empty in a language that has none."""
        language = self.language_code.partition("-")[0].lower()
        return {"en": self.settings.apology_en, "hi": self.settings.apology_hi}.get(language, "").strip()

    def filler(self) -> str:
        """What is said while a tool is slow; empty: nothing."""
        settings = self.settings
        language = self.language_code.partition("-")[0].lower()
        phrase = {"en": settings.filler_en, "hi": settings.filler_hi}.get(language, "")
        return (settings.filler_text or phrase).strip() if settings.filler_ms else ""

    def heard_so_far(self) -> str:
        """The user's unanswered words, finalised and not."""
        return f"{self.user_text} {self.partial}".strip()
