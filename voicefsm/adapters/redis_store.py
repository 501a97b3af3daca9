"""Conversations in Redis, for all replicas (the extra [redis]).

A conversation stands under the hash of its token, encrypted (AES-256-GCM) with a key that is made of the token: whoever has a dump
of the database, or listens on the way to it, can read none of them, and there is no key to be shared or rotated. The token is with
the client alone. Writing, and taking a conversation over, are scripts, so that they are atomic.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis
from redis.exceptions import RedisError

from voicefsm.errors import SettingsError, StoreError

T = TypeVar("T")
PREFIX = "voicefsm:session:"
_NONCE_BYTES = 12
_SAVE = """
local owner = tonumber(redis.call('HGET', KEYS[1], 'owner') or '0')
if owner > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'data', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
_CLAIM = """
local data = redis.call('HGET', KEYS[1], 'data')
if not data then return false end
return {redis.call('HINCRBY', KEYS[1], 'owner', 1), data}
"""
_FORGET = """
local owner = tonumber(redis.call('HGET', KEYS[1], 'owner') or '0')
if owner <= tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], 'data') end
"""
"""The owner stays until it expires: a session that still believes the conversation to be its own may not bring it back."""


class RedisStore:
    """See `ports.SessionStore`."""

    def __init__(self, url: str, wait_ms_max: int) -> None:
        """`wait_ms_max`: for a connection, and for an answer. Raises `SettingsError` for a URL that is none."""
        wait_s = wait_ms_max / 1000
        try:
            self._redis: Redis = Redis.from_url(url, socket_timeout=wait_s, socket_connect_timeout=wait_s)
        except ValueError as bad:
            raise SettingsError(f"resume.redis_url: {bad}.", remedy="Write redis://HOST:PORT or rediss://HOST:PORT.") from bad
        self._save, self._claim, self._forget = (self._redis.register_script(script) for script in (_SAVE, _CLAIM, _FORGET))

    async def find(self, token: str) -> bytes | None:
        """See `ports.SessionStore`."""
        sealed = await _asked(self._redis.hget(_place(token), "data"))
        return None if sealed is None else _opened(token, sealed)

    async def claim(self, token: str) -> tuple[int, bytes] | None:
        """See `ports.SessionStore`."""
        found = await _asked(self._claim(keys=[_place(token)]))
        return None if found is None else (int(found[0]), _opened(token, found[1]))

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        """See `ports.SessionStore`."""
        return bool(await _asked(self._save(keys=[_place(token)], args=[owner, _sealed(token, data), keep_ms])))

    async def forget(self, token: str, owner: int) -> None:
        """See `ports.SessionStore`."""
        await _asked(self._forget(keys=[_place(token)], args=[owner]))

    async def aclose(self) -> None:
        """See `ports.SessionStore`."""
        await self._redis.aclose()


async def _asked(question: Awaitable[T]) -> T:
    """The answer of Redis. Raises `StoreError`."""
    try:
        return await question
    except (RedisError, OSError) as failed:
        raise StoreError(f"Redis: {type(failed).__name__}: {failed}", remedy="Check resume.redis_url, and Redis.") from failed


def _place(token: str) -> str:
    return PREFIX + hashlib.sha256(b"place" + token.encode()).hexdigest()


def _cipher(token: str) -> AESGCM:
    """The token is 256 random bits: one round of a hash makes a key of it, and one that is not the place."""
    return AESGCM(hashlib.sha256(b"key" + token.encode()).digest())


def _sealed(token: str, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(token).encrypt(nonce, data, None)


def _opened(token: str, sealed: Any) -> bytes:
    try:
        return bytes(_cipher(token).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
    except (InvalidTag, ValueError) as bad:
        raise StoreError(
            "Redis holds what is none of ours under the place of a session.", remedy="Give it a database of its own."
        ) from bad
