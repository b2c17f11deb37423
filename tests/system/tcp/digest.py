"""A server that takes all its client has to say, and answers with its length and hash when the FIN is in.

So every byte that is lost, invented or somebody else's shows, and no session works without half-close. With
`greets` it speaks first: a number that no other connection is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
from typing import Any

import uvloop

from tests.system.process import go_first, raise_descriptor_limit, say, take_orders


class Session(asyncio.Protocol):
    greets = False
    seconds = 0.0  # from FIN to answer
    sessions = 0
    open = 0
    most = 0  # open at a time

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.size = 0
        self.digest = hashlib.sha256()
        kind = type(self)
        kind.sessions += 1
        kind.open += 1
        kind.most = max(kind.most, kind.open)
        if self.greets:
            transport.write(b"%08d" % kind.sessions)

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)

    def eof_received(self) -> bool:
        asyncio.get_running_loop().call_later(self.seconds, self.answer)
        return True

    def answer(self) -> None:
        self.transport.write(b"%d %s" % (self.size, self.digest.hexdigest().encode()))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).open -= 1


async def serve(fd: int, greets: bool = False, seconds: float = 0.0) -> None:
    Session.greets, Session.seconds = greets, seconds
    go_first()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Session, sock=socket.socket(fileno=fd), backlog=4096)
    told_to_end = asyncio.Event()
    loop.add_reader(0, told_to_end.set)
    say("ready")
    await told_to_end.wait()
    server.close()


def main() -> None:
    orders = take_orders()
    raise_descriptor_limit()
    uvloop.run(serve(**orders))
    say({"sessions": Session.sessions, "most": Session.most})
    sys.stdout.flush()


if __name__ == "__main__":
    main()
