"""One conversation over as many sessions as it takes: servers restart, connections break, and the user goes on.

async def converse(conversation: Conversation) -> str:
...   # until the user is done

await resuming(["voice-a.example:443", "voice-b.example:443"], SessionOptions(), converse)
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from voicefsm.client.access import Access
from voicefsm.client.conversation import Conversation
from voicefsm.client.errors import ReasonLost, ServerFull, ServerUnavailable
from voicefsm.client.options import ClientSettings, SessionOptions

T = TypeVar("T")


async def resuming(
    targets: Sequence[str],
    options: SessionOptions,
    converse: Callable[[Conversation], Awaitable[T]],
    *,
    settings: ClientSettings | None = None,
    access: Access | None = None,
) -> T:
    """Call `converse` with a session; when that is lost, with another that goes on where it was. Returns what `converse` returns.

    A session is lost when it ends UNAVAILABLE, as it does when its server stops, dies, or cannot be reached any more, and when its
    call is reset, as proxies do that have lost the server; `converse` has to let that error through. The targets are tried in turn,
    the next one first.

    Raises:
        ConversationFailed: a session ended otherwise, or none that lasts can be had in `resume_attempts_max` attempts.

    """
    settings = settings or ClientSettings()
    token, failures, place, unexplained = options.resume_token, 0, 0, 0
    done: list[T] = []
    loop = asyncio.get_running_loop()
    while True:
        is_held, began_s = False, math.inf
        wanted = dataclasses.replace(options, resume_token=token)
        try:
            async with Conversation.connect(targets[place], wanted, settings=settings, access=access) as conversation:
                is_held, token, began_s = True, conversation.session.resume_token, loop.time()
                done.append(await converse(conversation))
        except (ServerUnavailable, ServerFull, ReasonLost) as lost:
            if done:  # the server went while the user hung up
                return done[0]
            is_lasting = (loop.time() - began_s) * 1000 >= settings.resume_lasting_ms_min
            failures = 1 if is_lasting else failures + 1
            unexplained += isinstance(lost, ReasonLost)
            is_final = is_held and (isinstance(lost, ServerFull) or not token)  # our own fault; or nothing to go on with
            if is_final or max(failures, unexplained) > settings.resume_attempts_max:
                raise
        else:
            return done[0]
        place = (place + 1) % len(targets)
        if failures > 1:
            await asyncio.sleep(min(settings.resume_wait_ms_min << (failures - 2), settings.resume_wait_ms_max) / 1000)
