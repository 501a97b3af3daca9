"""What every store of sessions does: the one in memory, and Redis, a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.redis import RedisServer
from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.adapters.redis_store import RedisStore
from voicefsm.errors import SettingsError, StoreError
from voicefsm.ports import SessionStore

LONG_MS = 60_000
ONE, TWO = "vfr_one", "vfr_two"


class Clock:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    is_redis = request.param == "redis"
    made = RedisStore(request.getfixturevalue("redis_server").url, 5000) if is_redis else MemoryStore(Clock(), 100)
    yield made
    await made.aclose()
    await made.aclose()


async def test_what_was_saved_last_is_found(store: SessionStore) -> None:
    """Otherwise a conversation goes on from an earlier moment, or another's."""
    assert await store.find(ONE) is None
    assert await store.claim(ONE) is None
    for data in (b"first", b"\x00\xff second"):
        assert await store.save(ONE, 1, data, keep_ms=LONG_MS)
    assert await store.save(TWO, 1, b"other", keep_ms=LONG_MS)
    assert await store.find(ONE) == b"\x00\xff second"
    assert await store.find(ONE) == b"\x00\xff second", "finding changes nothing"


async def test_an_older_owner_changes_nothing(store: SessionStore) -> None:
    """Otherwise a session that lost its client overwrites what the client says elsewhere."""
    assert await store.save(ONE, 1, b"first", keep_ms=LONG_MS)
    assert await store.claim(ONE) == (2, b"first")
    assert not await store.save(ONE, 1, b"a ghost", keep_ms=LONG_MS)
    await store.forget(ONE, 1)
    assert await store.find(ONE) == b"first"
    assert await store.save(ONE, 2, b"second", keep_ms=LONG_MS)
    assert await store.claim(ONE) == (3, b"second")
    await store.forget(ONE, 3)
    assert await store.find(ONE) is None


async def test_what_is_forgotten_is_not_brought_back_by_an_older_owner(store: SessionStore) -> None:
    """Otherwise the words of a client that has hung up are kept on, by a session that has not noticed that it lost its client."""
    assert await store.save(ONE, 1, b"first", keep_ms=LONG_MS)
    assert await store.claim(ONE) == (2, b"first")
    await store.forget(ONE, 2)
    assert not await store.save(ONE, 1, b"a ghost", keep_ms=LONG_MS)
    assert await store.find(ONE) is None
    assert await store.claim(ONE) is None


async def test_of_two_that_claim_one_is_the_newer(store: SessionStore) -> None:
    """Otherwise two sessions both believe that a conversation is theirs."""
    await store.save(ONE, 1, b"first", keep_ms=LONG_MS)
    claimed = await asyncio.gather(*(store.claim(ONE) for _ in range(8)))
    assert sorted(claim[0] for claim in claimed if claim) == [2, 3, 4, 5, 6, 7, 8, 9]


async def test_it_expires(store: SessionStore) -> None:
    """Otherwise what users said is kept for ever."""
    await store.save(ONE, 1, b"first", keep_ms=40)
    await store.save(TWO, 1, b"other", keep_ms=LONG_MS)
    if isinstance(store, MemoryStore):
        assert isinstance(store._clock, Clock)
        store._clock.at_ms = 40
    async with asyncio.timeout(20):
        while await store.find(ONE) is not None:  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.005)
    assert await store.claim(ONE) is None
    assert await store.find(TWO) == b"other"


async def test_saving_again_keeps_it_longer(store: SessionStore) -> None:
    """Otherwise a conversation in which nobody speaks for a while cannot be resumed."""
    await store.save(ONE, 1, b"first", keep_ms=1)
    await store.save(ONE, 1, b"first", keep_ms=LONG_MS)
    if isinstance(store, MemoryStore):
        assert isinstance(store._clock, Clock)
        store._clock.at_ms = 40
    await asyncio.sleep(0.01)
    assert await store.find(ONE) == b"first"


# --- in memory ---------------------------------------------------------------------------------------------------------------


async def test_memory_is_bounded() -> None:
    """Otherwise clients that break off fill the memory; or what has expired stays in it."""
    clock = Clock()
    store = MemoryStore(clock, 3)
    for k in range(5):
        await store.save(f"t{k}", 1, b"x", keep_ms=100)
    assert list(store._entries) == ["t2", "t3", "t4"]
    clock.at_ms = 100
    await store.save("t9", 1, b"x", keep_ms=100)
    assert list(store._entries) == ["t9"]
    await store.forget("t9", 1)
    assert store._bytes == 0


# --- Redis -------------------------------------------------------------------------------------------------------------------


async def test_a_dump_of_redis_tells_nothing(redis_server: RedisServer) -> None:
    """Otherwise who can read the database reads conversations, or can go on with them."""
    store = RedisStore(redis_server.url, 5000)
    try:
        await store.save(ONE, 1, b"the user said secret things", keep_ms=LONG_MS)
        (name,) = [word for word in redis_server.ask("KEYS", "*").split(b"\r\n") if word.startswith(b"voicefsm:")]
        dump = name + redis_server.ask("HGETALL", name.decode())
        assert b"owner" in dump
        assert b"secret" not in dump
        assert ONE.encode() not in dump
        first = redis_server.ask("HGET", name.decode(), "data")
        await store.save(ONE, 1, b"the user said secret things", keep_ms=LONG_MS)
        assert redis_server.ask("HGET", name.decode(), "data") != first, "the same words look different each time"
        redis_server.ask("HSET", name.decode(), "data", "x" * 40)
        with pytest.raises(StoreError, match="none of ours"):
            await store.find(ONE)
    finally:
        await store.aclose()


async def test_redis_that_is_away_is_an_error_with_a_name(redis_server: RedisServer) -> None:
    """Otherwise an outage looks like a defect of ours; or one that is over is never noticed."""
    own = RedisServer(redis_server._directory)
    own.start()
    store = RedisStore(own.url, 500)
    try:
        assert await store.save(ONE, 1, b"x", keep_ms=LONG_MS)
        own.stop()
        with pytest.raises(StoreError, match=r"Redis: .*Check resume\.redis_url"):
            await store.save(ONE, 1, b"x", keep_ms=LONG_MS)
        own.start()
        assert await store.save(ONE, 1, b"x", keep_ms=LONG_MS), "it has forgotten its scripts, and is told them again"
        assert await store.claim(ONE) == (2, b"x")
    finally:
        await store.aclose()
        own.stop()


def test_a_url_that_is_none() -> None:
    """Otherwise a typing error shows itself in the first conversation."""
    with pytest.raises(SettingsError, match=r"resume\.redis_url"):
        RedisStore("localhost:6379", 100)


async def test_a_question_that_is_given_up_spoils_no_other(redis_server: RedisServer) -> None:
    """Otherwise the answer to one session's question is taken for that to another's: somebody gets somebody else's conversation."""
    store = RedisStore(redis_server.url, 5000)
    try:
        for token in (ONE, TWO):
            await store.save(token, 1, token.encode(), keep_ms=LONG_MS)
        given_up = 0
        while given_up < 20:
            redis_server.ask("CLIENT", "PAUSE", "30", "ALL")
            asking = asyncio.create_task(store.find(ONE))
            await asyncio.sleep(0.005)
            asking.cancel()
            await asyncio.wait([asking])
            given_up += asking.cancelled()  # not if we were held up for longer than the pause
            assert await store.find(TWO) == TWO.encode()
            assert await store.claim(ONE) is not None
    finally:
        await store.aclose()
