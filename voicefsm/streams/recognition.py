"""Recognition: the ASR stream is kept open for the whole session, and what it hears is written down.

A stream that fails is opened again after a wait that doubles, up to a named number of attempts in a row; any hypothesis resets the
count, and so does a stream that lives for as long as the longest wait. After the last attempt the machine raises `RecognitionLost`.
"""

from __future__ import annotations

import itertools

from voicefsm.context import Context, NearEnd, Playout, Recognition
from voicefsm.effects import OpenRecognition, ReportFailure, SendTranscript
from voicefsm.events import (
    FinalHeard,
    PartialHeard,
    RecognitionFailed,
    RecognitionLost,
    RecognitionOpened,
    SessionEnded,
    SessionOpened,
    Timer,
    TimerFired,
)
from voicefsm.lexicon import normal
from voicefsm.table import Row, stays
from voicefsm.values import Backend

OUTAGE_ATTEMPTS = 2
"""With the second failure in a row the client is told that nobody hears its user: the first may be mended before that matters."""


def open_stream(context: Context, _event: SessionOpened | TimerFired) -> None:
    """Have the runtime open the ASR stream."""
    context.order(OpenRecognition())


def note_opening(context: Context, event: RecognitionOpened) -> None:
    """A stream that lives for long enough makes up for failures before it, even if there was nothing to hear."""
    context.opened_ms = event.at_ms


def may_reopen(context: Context, event: RecognitionFailed) -> bool:
    """Can another attempt help, and is one left?"""
    is_left = context.reopen_attempts < context.settings.asr_reopen_attempts_max
    return event.retryable and (is_left or _has_lived(context, event))


def _has_lived(context: Context, event: RecognitionFailed) -> bool:
    is_open = context.recognition is Recognition.OPEN
    return is_open and event.at_ms - context.opened_ms >= context.settings.asr_reopen_ms_max


def wait_to_reopen(context: Context, event: RecognitionFailed) -> None:
    """Arm the next attempt. The next stream hears again what the lost one had not finalised, and its words replace the partial."""
    settings = context.settings
    if _has_lived(context, event):
        context.reopen_attempts = 0
    wait_ms = min(settings.asr_reopen_ms_min << context.reopen_attempts, settings.asr_reopen_ms_max)
    context.reopen_attempts += 1
    if context.reopen_attempts == OUTAGE_ATTEMPTS:
        context.order(ReportFailure(Backend.ASR, context.epoch, event.message, "It is tried again until it works."))
    context.arm(Timer.REOPEN, event.at_ms + wait_ms)


def give_up(context: Context, event: RecognitionFailed) -> None:
    """Nobody listens any more: the session cannot go on."""
    context.raised.append(RecognitionLost(event.at_ms, event.message))


def note_partial(context: Context, event: PartialHeard) -> None:
    """The utterance in progress reads like this now."""
    text = _fresh_words(context, event)
    if event.text and not context.is_mid_utterance:
        context.is_mid_utterance = True
        context.is_overheard = context.playout is Playout.AUDIBLE and context.near_end is NearEnd.QUIET
    context.partial_is_stable = event.stability >= 1.0
    context.agreed = text if context.partial_is_stable else _common_start(context.partial, text)
    context.partial = text
    context.order(SendTranscript(event.text, is_final=False, stability=event.stability))


def note_final(context: Context, event: FinalHeard) -> None:
    """The utterance is written down."""
    text = _fresh_words(context, event)
    context.taken, context.is_mid_utterance = "", False
    _finalise(context, text)
    context.order(SendTranscript(event.text, is_final=True, words=event.words))


def _fresh_words(context: Context, event: PartialHeard | FinalHeard) -> str:
    """What a hypothesis says beyond the partial that a reply answers already."""
    context.reopen_attempts = 0
    context.is_transcribed = context.is_transcribed or bool(event.text)
    words, count = event.text.split(), len(context.taken.split())
    if normal(" ".join(words[:count])) == normal(context.taken):  # finals come with capitals and full stops, partials do not
        return " ".join(words[count:])
    # Something else: a revision of the utterance that was answered, or, if the user speaks again, a new one.
    return event.text if context.near_end is NearEnd.SPEECH else ""


def _common_start(before: str, after: str) -> str:
    """The words that two hypotheses begin with."""
    pairs = zip(before.split(), after.split(), strict=False)
    return " ".join(word for word, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _finalise(context: Context, text: str) -> None:
    """Add to the user's words; beyond the limit the earliest are dropped."""
    context.user_text = context.clipped(f"{context.user_text} {text}")
    context.partial = context.agreed = ""
    context.partial_is_stable = False


_HEARD: tuple[Row[Recognition], ...] = (Row(PartialHeard, do=(note_partial,)), Row(FinalHeard, do=(note_final,)))
_OVER: Row[Recognition] = Row(SessionEnded, to=Recognition.CLOSED)

ROWS: dict[Recognition, tuple[Row[Recognition], ...]] = {
    Recognition.CLOSED: (
        Row(SessionOpened, to=Recognition.OPENING, do=(open_stream,)),
        *stays(PartialHeard, FinalHeard, RecognitionOpened, RecognitionFailed, because="Nobody listens."),
    ),
    Recognition.OPENING: (
        Row(RecognitionOpened, to=Recognition.OPEN, do=(note_opening,)),
        Row(RecognitionFailed, when=(may_reopen,), to=Recognition.WAITING, do=(wait_to_reopen,)),
        Row(RecognitionFailed, to=Recognition.FAILED, do=(give_up,)),
        *_HEARD,
        _OVER,
    ),
    Recognition.OPEN: (
        *stays(RecognitionOpened, because="Open already."),
        Row(RecognitionFailed, when=(may_reopen,), to=Recognition.WAITING, do=(wait_to_reopen,)),
        Row(RecognitionFailed, to=Recognition.FAILED, do=(give_up,)),
        *_HEARD,
        _OVER,
    ),
    Recognition.WAITING: (
        Row(Timer.REOPEN, to=Recognition.OPENING, do=(open_stream,)),
        *stays(RecognitionOpened, RecognitionFailed, because="Late news of the stream that failed."),
        *_HEARD,
        _OVER,
    ),
    Recognition.FAILED: (_OVER,),
}
