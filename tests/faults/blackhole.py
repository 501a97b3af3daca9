"""A TCP proxy that can turn into a black hole: connections stay open, and nothing passes any more, not even their end.

That is what a cable that was pulled, a host that lost its power, or a firewall that forgot a connection look like. Old connections
are dead for ever; new ones work as soon as the hole is healed.
"""

from __future__ import annotations

import asyncio

READ_BYTES = 65536
ACCEPTED_S = 0.01


class Proxy:
    """Between the gateway and one server."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._is_hole = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def swallow(self) -> None:
        """From now on nothing passes."""
        self._is_hole.set()

    def heal(self) -> None:
        """New connections pass. Harmless twice: connections that pass share the hole to come."""
        if self._is_hole.is_set():
            self._is_hole = asyncio.Event()

    async def close(self) -> None:
        """The end."""
        await asyncio.sleep(ACCEPTED_S)  # asyncio forgets the socket of a connection that it has accepted and not told of yet
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # not in the task: it may be cancelled before it begins

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hole = self._is_hole
        if hole.is_set():
            await asyncio.Event().wait()
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            return
        ways = [asyncio.create_task(_copy(*way, hole)) for way in ((reader, forth), (back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if hole.is_set():
                await asyncio.Event().wait()
        finally:
            for way in ways:
                way.cancel()
            forth.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hole: asyncio.Event) -> None:
    try:
        while data := await reader.read(READ_BYTES):
            if hole.is_set():
                return
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
