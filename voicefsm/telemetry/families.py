"""Every metric there is: name, kind, labels, meaning, each declared once. `docs/operations/metrics.md` is made from this.

Rules:

- The names that begin with `voice_gateway_` are those of the half-duplex gateway before this one, with their labels and their
  meaning: dashboards use them. Ours begin with `voicefsm_`.
- Times are seconds, as Prometheus wants them.
- Label values come from closed sets, or from a set that is cut off (`observer.Bounded`): what clients say never makes series
  without end.
- Nothing is counted per frame: values come from steps of the machine, from ends of exchanges, or from a sample once in a while.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Literal

LABELS: Mapping[str, str] = {
    "language": "the session's language, a BCP-47 tag",
    "model": "the language model; `default` when neither settings nor client name one",
    "status": "`ok`, `cancelled` (the client vanished), `client_error`, `backend_error`, `shutdown`, `refused`, `error` (ours)",
    "error_type": "`retryable`, `permanent`, `busy` (the server asked to be left alone), `deadline` (it did not answer in time)",
    "version": "of this program",
    "llm_model": "of the settings",
    "asr_language": "of sessions that name none",
    "state": "a state of the turn machine; of a breaker: `closed`, `open`, `half_open`",
    "before": "a state of the turn machine",
    "after": "a state of the turn machine",
    "part": "`pause`, `decision`, `cancel`, `stale`, `total`",
    "outcome": "how an exchange ended: `completed`, `interrupted`, `failed`, `retracted`",
    "speculation": "`hit`: the reply stood; `miss`: the user had not finished, and the turn was taken back",
    "kind": "the error's name in `voicefsm/errors.py`",
    "rule": "the promise that was broken: `silence after cancel`, `one audible reply`, `samples in order`, `bounded playout`, "
    "`bounded states` ([invariants](../invariants.md))",
    "backend": "`asr`, `llm`, `tts`",
    "server": "its address in the settings",
    "queue": "`inbox` (facts), `outbox` (messages), `ears` (ms of audio)",
    "identity": "who holds it: `anonymous`, a name of `auth.identities_file`, or `other`",
    "what": "`settings`, `certificate`, `identities`, `jwks`",
    "taken": "`taken`: it counts from now on; `kept`: it is bad, and what it said before counts",
    "saved": "`saved`; `failed`: the store did; `taken_over`: a client has gone on in another session",
    "draining": "`true` once the process was told to stop",
}
"""What each label may be."""


class Kind(enum.Enum):
    """What Prometheus calls the type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


RULES = ("silence after cancel", "one audible reply", "samples in order", "bounded playout", "bounded states")
"""The promises that are watched at run time (runtime/invariants.py)."""
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
LONG_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0)
LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
COUNTS = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
DECIBELS = (0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 30.0, 36.0, 42.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """One metric."""

    kind: Kind
    name: str
    doc: str
    labels: Sequence[str] = ()
    buckets: Sequence[float] = ()
    """Of a histogram: upper bounds."""
    together: Literal["livesum", "livemax"] = "livesum"
    """Of a gauge: what several workers come to."""


def _counter(name: str, doc: str, *labels: str) -> Family:
    return Family(Kind.COUNTER, name, doc, labels)


def _gauge(name: str, doc: str, *labels: str, together: Literal["livesum", "livemax"] = "livesum") -> Family:
    return Family(Kind.GAUGE, name, doc, labels, together=together)


def _histogram(name: str, doc: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Family:
    return Family(Kind.HISTOGRAM, name, doc, labels, buckets)


# --- kept from the half-duplex gateway ---------------------------------------------------------------------------------------

ASR_LATENCY = _histogram("voice_gateway_asr_latency_seconds", "From the first sample of an utterance to its final.", "language")
LLM_TTFT = _histogram("voice_gateway_llm_ttft_seconds", "From the request to the model's first token.", "model")
LLM_TOTAL = _histogram(
    "voice_gateway_llm_total_seconds", "From the request to the model's last token, of answers written to their end.", "model"
)
LLM_TOKENS = _histogram(
    "voice_gateway_llm_tokens_total",
    "Pieces the model wrote for one reply: most servers send a token in each.",
    "model",
    buckets=COUNTS,
)
TTS_LATENCY = _histogram(
    "voice_gateway_tts_latency_seconds", "From the first sentence given to the voice to its first audio.", "language"
)
TTS_CHARACTERS = _histogram(
    "voice_gateway_tts_characters_total", "Characters given to the voice for one reply.", "language", buckets=COUNTS
)
E2E_LATENCY = _histogram(
    "voice_gateway_e2e_latency_seconds", "From the final transcript (or typed text) to the first audio of the voice."
)
REQUESTS = _counter("voice_gateway_requests_total", "Calls that are over.", "status")
ASR_ERRORS = _counter("voice_gateway_asr_errors_total", "Failures of the recogniser.", "error_type")
LLM_ERRORS = _counter("voice_gateway_llm_errors_total", "Failures of the language model.", "error_type")
TTS_ERRORS = _counter("voice_gateway_tts_errors_total", "Failures of the voice.", "error_type")
ACTIVE_STREAMS = _gauge("voice_gateway_active_streams", "Conversations being held.")
INFO = _gauge("voice_gateway_info", "Always 1; its labels tell.", "version", "llm_model", "asr_language", together="livemax")

# --- turns -------------------------------------------------------------------------------------------------------------------

TURNS = _counter("voicefsm_turns_total", "Exchanges that are over.", "outcome")
SPECULATIONS = _counter(
    "voicefsm_speculations_total", "Replies that were begun before the recogniser's final, when they are over.", "speculation"
)
FIRST_AUDIO = _histogram("voicefsm_first_audio_seconds", "From the user's last sample to the first rendered sample of the reply.")
END_OF_UTTERANCE = _histogram(
    "voicefsm_end_of_utterance_delay_seconds", "From the user's last sample to the decision that the turn is over."
)
STATE_SECONDS = _histogram(
    "voicefsm_state_seconds", "How long a session stayed in a state, told when it leaves it.", "state", buckets=LONG_SECONDS
)
TRANSITIONS = _counter("voicefsm_transitions_total", "Moves of the turn machine.", "before", "after")
STALE_FACTS = _counter("voicefsm_stale_facts_total", "Facts dropped because their reply or timer was over.")
ASR_FIRST_PARTIAL = _histogram(
    "voicefsm_asr_first_partial_seconds", "From an onset to the recogniser's first words of it.", "language"
)
ASR_LAG = _histogram(
    "voicefsm_asr_lag_seconds", "From the user's last sample to the final, or the first pass, that comes after it.", "language"
)
ASR_REOPENINGS = _counter("voicefsm_asr_reopenings_total", "ASR streams opened again after they broke.")
ASR_LOST = _counter("voicefsm_asr_lost_seconds_total", "Audio that the recogniser never got: it was away for too long.")

# --- barge-in ----------------------------------------------------------------------------------------------------------------

BARGE_IN = _histogram(
    "voicefsm_barge_in_seconds",
    "A confirmed barge-in: onset → pause → decision → cancel (CANCEL_TTS handed to gRPC) → stale (the client renders its last "
    "sample of the reply; 0 when it was silent before), each from the one before; total is from the onset to that last sample.",
    "part",
)
BARGE_INS = _counter("voicefsm_barge_ins_total", "Replies cut because the user took the floor: confirmed barge-ins.")
FALSE_BARGE_INS = _counter(
    "voicefsm_false_barge_ins_total", "Confirmed barge-ins after which the user said not a word: nobody wanted the floor."
)
RESUMES = _counter("voicefsm_resumes_total", "Replies that went on after a pause: rejected barge-ins.")
PAUSE_SECONDS = _histogram("voicefsm_resume_pause_seconds", "How long those pauses were.")

# --- echo and playout --------------------------------------------------------------------------------------------------------

ERLE = _histogram("voicefsm_erle_db", "Echo return loss enhancement at the end of an exchange, where known.", buckets=DECIBELS)
ECHO_DELAY = _histogram(
    "voicefsm_echo_delay_seconds", "By how much the echo came after its reference, at the end of an exchange, where it was heard."
)
UNDERRUNS = _counter("voicefsm_playout_underruns_total", "Times a client ran out of audio within a reply.")

# --- the process -------------------------------------------------------------------------------------------------------------

REFUSED = _counter("voicefsm_refused_total", "Calls turned away before they became sessions.", "kind")
RESUMED = _counter("voicefsm_sessions_resumed_total", "Sessions that went on with a conversation of another, by its token.")
SAVES = _counter("voicefsm_session_saves_total", "Writes of sessions into the store that keeps them.", "saved")
SAVE_SECONDS = _histogram("voicefsm_session_save_seconds", "How long these took.", buckets=LAG_SECONDS)
IDENTITY_SESSIONS = _counter("voicefsm_identity_sessions_total", "Sessions begun.", "identity")
IDENTITY_ACTIVE = _gauge("voicefsm_identity_active_sessions", "Conversations being held.", "identity")
RELOADS = _counter("voicefsm_reloads_total", "Changes of files that we follow.", "what", "taken")
BROKEN = _counter("voicefsm_invariant_violations_total", "Sessions ended because a promise did not hold.", "rule")
CRASHES = _counter("voicefsm_crashes_total", "Calls ended by a defect of ours, the above included.")
SESSIONS = _gauge("voicefsm_sessions", "Sessions, by the state they are in.", "state", "draining")
SESSIONS_MAX = _gauge("voicefsm_sessions_max", "How many may be held at once.")
READY = _gauge("voicefsm_ready", "Workers that can hold conversations now: every backend has a server that is up.")
BREAKER = _gauge("voicefsm_breaker_state", "1 for the state a server's breaker is in, per worker.", "backend", "server", "state")
QUEUE = _gauge("voicefsm_queue_depth_max", "The fullest queue of its kind among all sessions.", "queue", together="livemax")
LOOP_LAG = _histogram("voicefsm_event_loop_lag_seconds", "How late a timer of the event loop was served.", buckets=LAG_SECONDS)
LOOP_BUSY = _gauge(
    "voicefsm_event_loop_busy_ratio",
    "Share of a core that the busiest loop takes or waits for; `server.busy_pct_max` looks at it, and adds what has just begun.",
    together="livemax",
)
MEMORY = _gauge("voicefsm_resident_bytes", "Memory of the process; of several workers together.")
CPU = _counter("voicefsm_cpu_seconds_total", "Time on a processor, user and system.")

FAMILIES: Sequence[Family] = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All of them, in the order above."""


def page() -> str:
    """`docs/operations/metrics.md`, without its final newline; the last line is a summary."""
    lines = [
        "# Metrics",
        "",
        "Generated by `voicefsm metrics`; do not edit. `VOICEFSM_METRICS__PORT` opens the port they are served on (`/metrics`, in",
        "the Prometheus text format); with `serve --workers` it is the parent's, and tells of all workers together. Every name is",
        "there before the first session.",
        "",
        "| Name | Type | Labels | Meaning |",
        "|---|---|---|---|",
        *(_row(family) for family in FAMILIES),
        "",
        "Buckets: times in seconds, `voicefsm_erle_db` in dB, tokens and characters in counts. A gauge that is sampled is at most",
        "`metrics.sample_ms` old. Of several workers gauges are summed; of `voice_gateway_info` and `voicefsm_queue_depth_max` the",
        "greatest is taken.",
        "",
        "| Label | Values |",
        "|---|---|",
        *(f"| `{name}` | {values} |" for name, values in LABELS.items()),
        "",
        "Languages and models that clients name are kept apart up to 32 of each; what comes after is `other`;",
        "of the identities that the operator has named, up to 100.",
        "",
        f"{len(FAMILIES)} metrics.",
    ]
    return "\n".join(lines)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind.value} | {labels} | {family.doc} |"
