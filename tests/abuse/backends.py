"""`python -m tests.abuse.backends`: what the attacked gateway leans on, where its work is nobody's delay.

The model has a long answer to everything, and writes it at once.
"""

from __future__ import annotations

import asyncio
import os

from voicefsm.scripted import ScriptedLlm, ScriptedRiva


async def main() -> None:
    """Serve until killed."""
    async with ScriptedRiva() as riva, ScriptedLlm(["A long story. " * 40]) as llm:
        print(f"riva {riva.target}\nllm {llm.base_url}", flush=True)
        await asyncio.Event().wait()


def ordinary_priority() -> None:
    """The run may have a priority that only gateway and bystander are to have."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


if __name__ == "__main__":
    ordinary_priority()
    asyncio.run(main())
