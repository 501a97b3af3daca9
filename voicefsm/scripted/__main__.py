"""`python -m voicefsm.scripted [RIVA_PORT [LLM_PORT]]`: healthy scripted servers, to point a gateway or a client at by hand.

The recogniser hears nothing by itself; every `force_eou` yields "Hello." The model says one sentence, the voice is a ramp.
"""

from __future__ import annotations

import asyncio
import sys

from voicefsm.scripted import ON_FORCE_EOU, AsrScript, ScriptedLlm, ScriptedRiva, final

ANSWERS = 1000
"""How often one stream hears something."""


async def main(riva_port: int, llm_port: int) -> None:
    """Serve until cancelled. Port 0 takes any free one."""
    script = AsrScript([(ON_FORCE_EOU, final("Hello."))] * ANSWERS)
    async with ScriptedRiva(asr=script, port=riva_port) as riva, ScriptedLlm(["Hello to you, too."], port=llm_port) as llm:
        print(f"voicefsm scripted: Riva ASR+TTS on {riva.target}")  # noqa: T201, it is a command
        print(f"voicefsm scripted: LLM on {llm.base_url}")  # noqa: T201
        print("voicefsm scripted: ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    ports = [int(argument) for argument in sys.argv[1:3]]
    try:
        asyncio.run(main(*ports, *[0] * (2 - len(ports))))
    except KeyboardInterrupt:
        sys.exit(0)
