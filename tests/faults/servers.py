"""`python -m tests.faults.servers asr|llm|tts PORT [SLOW_MS]`: one scripted backend as a process of its own.

A slow one is there for that long without being of use: Riva's port is closed, the model server answers 503 while it loads.
"""

from __future__ import annotations

import asyncio
import sys

from voicefsm.scripted import AsrScript, HttpError, ScriptedLlm, ScriptedRiva, TtsScript
from voicefsm.scripted.spelling import SpellingAsr

ANSWER = "It is a quarter past noon, and the sun is out there. Go for a walk in the park before it rains."
FIRST_TOKEN_MS, TOKEN_MS, CHAR_MS = 300, 10, 40
LOADING = HttpError(503, '{"message": "loading"}')


async def serve_riva(riva: ScriptedRiva, slow_ms: int) -> None:
    """Until cancelled."""
    await asyncio.sleep(slow_ms / 1000)
    async with riva:
        await _stay()


async def serve_model(port: int, slow_ms: int) -> None:
    """Until cancelled."""
    is_loaded = not slow_ms
    llm = ScriptedLlm(
        [lambda _: ANSWER if is_loaded else LOADING],
        first_token_ms=FIRST_TOKEN_MS,
        token_ms=TOKEN_MS,
        is_ready=is_loaded,
        port=port,
    )
    async with llm:
        await asyncio.sleep(slow_ms / 1000)
        is_loaded = llm.is_ready = True
        await _stay()


async def _stay() -> None:
    print("ready", flush=True)
    await asyncio.Event().wait()


def main(kind: str, port: int, slow_ms: int = 0) -> None:
    """Serve until killed."""
    match kind:
        case "asr":
            asyncio.run(serve_riva(ScriptedRiva(asr=SpellingAsr(AsrScript()), port=port), slow_ms))
        case "tts":
            asyncio.run(serve_riva(ScriptedRiva(tts=TtsScript(char_ms=CHAR_MS), port=port), slow_ms))
        case _:
            asyncio.run(serve_model(port, slow_ms))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
