"""Does a server do on the wire what the gateway relies on? One item of the list after the other, against any Riva, NIM or stand-in.

Theory of operation: a *check* is one item: it talks to the server as the gateway would, and says what it saw. It passes, fails
(the server does otherwise) or is not supported (the server lacks it, or it cannot be seen there). Timings are told, and judged
only against the gateway's own limits. A new check is a function and a row in the table of its module: `asr`, `tts`, `llm`, `infra`.
"""

from voicefsm.conformance.item import Check, Failed, Need, NotSupported, Outcome, Result
from voicefsm.conformance.report import line, totals, write_json
from voicefsm.conformance.run import CHECKS, chosen, examine, run
from voicefsm.conformance.targets import Targets, Wish, reach

__all__ = [
    "CHECKS",
    "Check",
    "Failed",
    "Need",
    "NotSupported",
    "Outcome",
    "Result",
    "Targets",
    "Wish",
    "chosen",
    "examine",
    "line",
    "reach",
    "run",
    "totals",
    "write_json",
]
