"""The supervisor's end of one control channel; `worker/control.py` is the other.

All writing is done by one task from a bounded outbox: a worker that hangs fills its outbox and is then said
nothing more, but nobody in the supervisor waits for it, and no message is ever cut in the middle by a
cancellation.
"""

from __future__ import annotations

from typing import Any

import trio

from muxproxy.messages import Ask, Message, MessageReader, Stats, encode

# Messages. The ledger says an order of each number of each of a worker's backends in one go (some seven of
# each backend), before the task that writes has its turn: with too few of these a worker that listens looked
# as if it did not, and a reload that found no room ended it.
MAX_OUTBOX = 4096
_CHUNK = 65536


class Channel:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._reader = MessageReader()
        self._outbox, self._to_write = trio.open_memory_channel[Message](MAX_OUTBOX)
        self._serial = 0
        self._asked: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}

    def say(self, message: Message) -> bool:
        """False if the worker does not listen any more."""
        try:
            self._outbox.send_nowait(message)
        except trio.WouldBlock:
            return False
        return True

    async def ask(self) -> dict[str, Any] | None:
        """The worker's snapshot, however long that takes; None if it does not listen any more."""
        self._serial += 1
        serial = self._serial
        if not self.say(Ask(serial)):
            return None
        answer, answered = trio.open_memory_channel[dict[str, Any]](1)
        self._asked[serial] = answer
        try:
            return await answered.receive()
        finally:
            del self._asked[serial]

    def on_stats(self, message: Stats) -> None:
        asked = self._asked.get(message.serial)
        if asked is not None and asked.statistics().current_buffer_used == 0:
            asked.send_nowait(message.snapshot)

    async def write(self) -> None:
        """Runs as long as the worker: what `say` was given goes out."""
        try:
            async for message in self._to_write:
                await self._stream.send_all(encode(message))
        except trio.BrokenResourceError:
            pass  # it has gone; whoever waits for its exit sees to it

    async def receive(self) -> list[Message]:
        """The next messages; none once the channel has ended. Raises ValueError for what is not a message."""
        while True:
            try:
                data = await self._stream.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                return []
            messages = self._reader.feed(bytes(data))
            if messages or not data:
                return messages

    async def aclose(self) -> None:
        await self._stream.aclose()
