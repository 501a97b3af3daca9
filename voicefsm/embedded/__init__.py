"""Local CPU engines behind the real protocols: Riva speech recognition and synthesis over gRPC, chat completions over HTTP.

For newcomers without a GPU, for the demo and for tests: the gateway has one code path. Runs in a process of its own and is never
imported by the gateway, because espeak-ng is GPL-3.0. The language model is a set of rules, and says so.
"""

from voicefsm.embedded.serve import serve
from voicefsm.embedded.settings import EmbeddedSettings, Search

__all__ = ["EmbeddedSettings", "Search", "serve"]
