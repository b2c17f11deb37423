"""A provider of our own that speaks Dubbo2: it answers each call with its token, and heartbeats.

`python -m muxproxy.incident.dubbo.provider` says `{"ready": true}`, takes the order
`{"address": "HOST:PORT"}` and says `{"listening": true}`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvloop

from muxproxy.incident.dubbo.wire import BEAT, BEAT_REPLY, OK, Frames, encode, reply, token_of_call
from muxproxy.stage.pipes import obey, say

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn


class Provider(asyncio.Protocol):
    __slots__ = ("_frames", "_transport")

    def __init__(self) -> None:
        self._frames = Frames()
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's can be written to

    def data_received(self, data: bytes) -> None:
        out = []
        try:
            for flags, _, tag, body in self._frames.feed(data):
                if flags == BEAT:
                    out.append(encode(BEAT_REPLY, tag, body, OK))
                elif flags & 0xA0 == 0x80:  # a call, and no event
                    out.append(reply(tag, token_of_call(body)))
        except (ValueError, IndexError):
            self._transport.abort()
            return
        if out:
            self._transport.write(b"".join(out))


def main() -> None:
    loop = uvloop.new_event_loop()

    def on_order(order: dict[str, Any]) -> None:
        host, _, port = order["address"].rpartition(":")
        listener = socket.create_server((host, int(port)), backlog=BACKLOG)
        started = loop.create_task(loop.create_server(Provider, sock=listener, backlog=BACKLOG))
        started.add_done_callback(lambda task: say({"listening": task.result() is not None}))

    obey(loop, on_order)
    say({"ready": True})
    loop.run_forever()


if __name__ == "__main__":
    main()
