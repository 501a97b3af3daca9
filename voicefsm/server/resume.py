"""Conversations that began in another session, of this process or of another."""

from __future__ import annotations

import asyncio
import secrets

from voicefsm.errors import InvalidMessage, NothingToResume, NotPermitted, StoreError, Unsupported
from voicefsm.ports import Identity, SessionStore
from voicefsm.runtime.checkpoint import Checkpoint, from_bytes
from voicefsm.runtime.keeper import Keeping, ResumeSettings

TOKEN_PREFIX = "vfr_"  # noqa: S105 (what a token begins with)
TOKEN_CHARS_MAX = 100


class Resumption:
    """Finds and claims them."""

    def __init__(self, store: SessionStore | None, settings: ResumeSettings) -> None:
        """Without a store nothing is kept."""
        self._store, self._settings = store, settings

    async def find(self, token: str, identity: Identity) -> Checkpoint | None:
        """The conversation a client wants to go on with; None for a new one.

        Raises:
            NothingToResume: it is not known, or not any more.
            NotPermitted: it is somebody else's.
            Unsupported: nothing is kept here.
            StoreError: the store does not answer.

        """
        if not token:
            return None
        if len(token) > TOKEN_CHARS_MAX:
            raise InvalidMessage(f"`resume_token` has {len(token)} characters.", remedy="Send what `session_ready` gave.")
        if self._store is None:
            raise Unsupported("Sessions cannot be resumed here.", remedy="Leave `resume_token` empty.")
        try:
            async with asyncio.timeout(self._settings.store_ms_max / 1000):
                found = await self._store.find(token)
        except TimeoutError:
            raise StoreError(_SILENT, remedy=_AGAIN) from None
        before = _read(found)
        if before.identity != identity.name:
            raise NotPermitted("The session to be resumed is somebody else's.", remedy="Show the credentials it began with.")
        return before

    async def keep(self, token: str, before: Checkpoint | None) -> Keeping | None:
        """Claim the conversation for a session that begins now, or begin to keep a new one; None: nothing is kept.

        Raises:
            NothingToResume: it has gone meanwhile.
            StoreError: the store does not answer.

        """
        if self._store is None:
            return None
        if before is None:
            return Keeping(self._store, self._settings, TOKEN_PREFIX + secrets.token_urlsafe(32), 1)
        try:
            async with asyncio.timeout(self._settings.store_ms_max / 1000):
                claimed = await self._store.claim(token)
        except TimeoutError:
            raise StoreError(_SILENT, remedy=_AGAIN) from None
        owner, data = claimed or (0, None)
        return Keeping(self._store, self._settings, token, owner, _read(data))


_SILENT = "What keeps the sessions does not answer."
_AGAIN = "Try again, or begin a new session."


def _read(data: bytes | None) -> Checkpoint:
    if data is None:
        raise NothingToResume(
            "The session to be resumed is not known here: it ended, has expired, or was kept elsewhere.",
            remedy="Begin a new one: leave `resume_token` empty.",
        )
    try:
        return from_bytes(data)
    except ValueError as bad:
        raise NothingToResume(
            f"The session cannot be resumed: {bad}", remedy="Begin a new one: leave `resume_token` empty."
        ) from bad
