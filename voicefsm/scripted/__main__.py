"""`python -m voicefsm.scripted [--spelling] [RIVA_PORT [LLM_PORT]]`: healthy scripted servers, to point a gateway or a client at.

The recogniser hears nothing by itself; every `force_eou` yields "Hello." The model says one sentence, as far as it is allowed, and
knows no other model; the voice is a ramp. With `--spelling` the voice spells what it says, and the
recogniser reads what was spelled: its words follow from the samples alone.
"""

from __future__ import annotations

import asyncio
import sys

from voicefsm.scripted import (
    DONE,
    ON_FORCE_EOU,
    ROLE,
    AsrScript,
    HttpError,
    ScriptedLlm,
    ScriptedRiva,
    SpellingAsr,
    TtsScript,
    chunk,
    final,
    spell,
)
from voicefsm.scripted.llm import Body, ByRequest, Reply

MODEL = "scripted"
WORDS = ("Hello", " to", " you,", " too,", " and", " a", " very", " good", " day.")
ANSWERS = 1000
"""How often one stream hears something."""


def _riva(port: int, *, is_spelling: bool) -> ScriptedRiva:
    if is_spelling:
        return ScriptedRiva(asr=SpellingAsr(AsrScript()), tts=TtsScript(voice=spell), port=port)
    return ScriptedRiva(asr=AsrScript([(ON_FORCE_EOU, final("Hello."))] * ANSWERS), port=port)


def reply(asked: Body) -> Reply:
    """What a healthy server does with a request."""
    if asked.get("model") != MODEL:
        message = f"The model `{asked.get('model')}` does not exist."
        return HttpError(404, {"error": {"message": message, "type": "NotFoundError", "param": None, "code": 404}})
    said = WORDS[: asked.get("max_tokens", len(WORDS))]
    return [ROLE, *said, chunk({}, "stop" if said == WORDS else "length"), DONE]


async def main(riva_port: int, llm_port: int, *, is_spelling: bool) -> None:
    """Serve until cancelled. Port 0 takes any free one."""
    async with (
        _riva(riva_port, is_spelling=is_spelling) as riva,
        ScriptedLlm([ByRequest(reply)], models=[MODEL], port=llm_port) as llm,
    ):
        print(f"voicefsm scripted: Riva ASR+TTS on {riva.target}")  # noqa: T201, it is a command
        print(f"voicefsm scripted: LLM on {llm.base_url}")  # noqa: T201
        print("voicefsm scripted: ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--spelling"]
    ports = [int(argument) for argument in arguments[:2]]
    try:
        asyncio.run(main(*ports, *[0] * (2 - len(ports)), is_spelling="--spelling" in sys.argv))
    except KeyboardInterrupt:
        sys.exit(0)
