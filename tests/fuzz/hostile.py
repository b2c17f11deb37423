"""Hostile clients and servers of all four protocols: `python -m tests.fuzz.hostile`, a program of its own.

Everything that they do is one of a few ways to be a nuisance, chosen by chance at each connection: say what
no honest peer says, all at once or in bits; flood; stop in the middle; never read; half-close; reset; close
as soon as somebody connects. The servers also answer as they should, now and then, or nothing would ever
flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import sys
import termios
from collections import Counter
from random import Random
from typing import Any

from tests.fuzz.samples import PROTOCOLS, cuts, replies, requests, spoiled
from tests.system.process import raise_descriptor_limit, say, take_orders

_RESET = struct.pack("ii", 1, 0)
LINE = 32 * 1024  # bytes that a peer reads at a time
LIFE = 1.5  # seconds after which a nuisance has been one for long enough


def unsent(sock: socket.socket) -> int:
    """Bytes that the kernel has, and the other end has not."""
    queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return queued


class Nuisance:
    """One connection, and what it does to the other end."""

    def __init__(self, chance: Random, says: tuple[bytes, ...], done: Counter[str]) -> None:
        self.chance = chance
        self.says = says
        self.done = done

    async def be(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self.chance.choice(
            (self._talk, self._talk, self._talk, self._drip, self._flood, self._deaf, self._mute)
        )
        self.done[way.__name__] += 1
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            await asyncio.wait_for(way(reader, writer), LIFE)
        await self._end(writer)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        how = self.chance.choice(("close", "reset", "half"))
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            if how == "half" and writer.can_write_eof():
                writer.write_eof()
                await asyncio.sleep(self.chance.random() / 5)
            sock = writer.get_extra_info("socket")
            # The kernel would send what is unsent for as long as it is read, which may be an hour where each
            # hundred commands wait for a server that is not there: then it leaves with a reset.
            if sock.fileno() >= 0 and (how == "reset" or unsent(sock)):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    def _word(self) -> bytes:
        return spoiled(self.chance, self.chance.choice(self.says), self.says)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says something and takes what comes, some times over."""
        for _ in range(self.chance.randrange(1, 20)):
            for part in cuts(self.chance, self._word()):
                writer.write(part)
                if self.chance.random() < 0.05:
                    await asyncio.sleep(0)
            await writer.drain()
            if self.chance.random() < 0.7:
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(LINE), 0.05):
                        return

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in self._word()[:300]:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.005)

    async def _flood(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much of one thing as there is time for, read or unread."""
        block = (self._word() or b"\n") * self.chance.choice((1, 50))
        block = (block * (65536 // len(block) + 1))[:262144]
        reads = self.chance.random() < 0.5
        for _ in range(self.chance.choice((8, 64))):
            writer.write(block)
            await asyncio.wait_for(writer.drain(), 1.0)
            if reads:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1 << 20), 0.001)

    async def _deaf(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Asks and never reads."""
        writer.transport.pause_reading()
        for _ in range(200):
            writer.write(self._word())
            await asyncio.wait_for(writer.drain(), 0.5)

    async def _mute(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says a part and then nothing."""
        word = self._word()
        writer.write(word[: self.chance.randrange(len(word) + 1)])
        await asyncio.sleep(self.chance.random() * LIFE)


class HostileServer(Nuisance):
    """A nuisance that has something to answer."""

    async def be(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self.chance.random()
        if way < 0.1:
            self.done["slam"] += 1
            await self._end(writer)
        elif way < 0.6:
            self.done["answer"] += 1
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._answer(reader, writer), LIFE)
            await self._end(writer)
        else:
            await super().be(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A reply for each read, as it should be or nearly so."""
        while data := await reader.read(LINE):
            word = self.chance.choice(self.says)
            if data[:2] == word[:2] == b"\xda\xbb" and len(data) >= 16:
                word = word[:4] + data[4:12] + word[12:]  # the id that is waited for
            if self.chance.random() < 0.3:
                word = spoiled(self.chance, word, self.says)
            writer.write(word)
            await writer.drain()


async def attack(
    chance: Random, port: int, protocol: str, done: Counter[str], stopped: asyncio.Event
) -> None:
    """One hostile client after the other, until it is enough."""
    while not stopped.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            done["no connect"] += 1
            await asyncio.sleep(0.05)
            continue
        await Nuisance(chance, requests(protocol), done).be(reader, writer)


def stop_order() -> asyncio.Event:
    """Set when the parent says that it is enough."""
    stopped = asyncio.Event()

    def heard() -> None:
        sys.stdin.buffer.read1(1)
        stopped.set()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), heard)
    return stopped


async def attacks(orders: dict[str, Any]) -> None:
    done: Counter[str] = Counter()
    stopped = stop_order()
    await asyncio.gather(
        *(
            attack(Random(f"{orders['seed']} {protocol} {n}"), port, protocol, done, stopped)
            for protocol, port in orders["clients"].items()
            for n in range(orders["parallel"])
        )
    )
    say(dict(done))


async def listen(orders: dict[str, Any]) -> None:
    """Servers only: they must be there before muxproxy, and stay until it has ended."""
    done: Counter[str] = Counter()
    ports = {}
    for protocol in PROTOCOLS:
        chance = Random(f"{orders['seed']} {protocol}")

        async def met(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            chance: Random = chance,
            says: tuple[bytes, ...] = replies(protocol),
        ) -> None:
            with contextlib.suppress(OSError):
                await HostileServer(chance, says, done).be(reader, writer)

        server = await asyncio.start_server(met, "127.0.0.2", 0, backlog=1024)
        ports[protocol] = server.sockets[0].getsockname()[1]
    say(ports)
    await stop_order().wait()
    say(dict(done))


def main() -> None:
    orders = take_orders()
    raise_descriptor_limit()
    logging.disable()  # asyncio's "socket.send() raised exception": that is what this program is about
    if "clients" in orders:
        say("ready")
        asyncio.run(attacks(orders))
    else:
        asyncio.run(listen(orders))


if __name__ == "__main__":
    main()
