from __future__ import annotations

import asyncio
import threading

import pytest

from voicefsm.embedded.decoders import DecoderPool, NoDecoder


class FakeDecoder:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeModel:
    def __init__(self) -> None:
        self.made: list[FakeDecoder] = []

    def decoder(self) -> FakeDecoder:
        self.made.append(FakeDecoder())
        return self.made[-1]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


async def test_it_is_bounded_and_decoders_are_used_again(model):
    """Otherwise streams eat the memory, or each one waits for a new decoder."""
    pool = DecoderPool(model, 2)
    await pool.load()
    async with pool.lease() as one, pool.lease() as two:
        assert one is not two
        with pytest.raises(NoDecoder):
            async with pool.lease():
                pass
    async with pool.lease():
        pass
    assert len(model.made) == 2
    pool.close()
    assert all(decoder.is_closed for decoder in model.made)


async def test_a_decoder_that_cannot_be_loaded_takes_no_place(model, monkeypatch):
    """Otherwise a full disk for a second is a full pool for ever."""
    pool = DecoderPool(model, 1)

    def fail() -> FakeDecoder:
        raise RuntimeError("no memory")

    with monkeypatch.context() as broken:
        broken.setattr(model, "decoder", fail)
        with pytest.raises(RuntimeError):
            async with pool.lease():
                pass
    async with pool.lease() as decoder:
        assert decoder is model.made[0]
    pool.close()


async def test_a_cancelled_caller_waits_for_its_thread(model):
    """Otherwise the decoder goes to the next stream while a thread still decodes with it: a crash of the process."""
    pool, begun, go_on, events = DecoderPool(model, 1), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait(10)
        events.append("worked")

    async def caller() -> None:
        async with pool.lease():
            try:
                await pool.run(work)
            finally:
                events.append("left")

    task = asyncio.create_task(caller())
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):  # even when it is cancelled twice
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert events == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["worked", "left"]
    pool.close()


async def test_the_loop_goes_on_while_a_thread_works(model):
    """Otherwise one stream's second of decoding silences every other stream."""
    pool, go_on = DecoderPool(model, 1), threading.Event()
    task = asyncio.create_task(pool.run(lambda: go_on.wait(10)))
    await asyncio.sleep(0)
    go_on.set()  # only a running loop gets here
    assert await task
    pool.close()
