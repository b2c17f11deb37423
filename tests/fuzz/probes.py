"""The honest ones: `python -m tests.fuzz.probes`, a program of its own.

Servers that answer as they should, and a client for each who asks them something through muxproxy again and
again, checks every byte of the reply, and notes how long it took. Its orders are the ports to ask at. Each
further line of orders is answered with what the clients have seen so far, and so is their end.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.fuzz.samples import call, command, dubbo
from tests.system.process import go_first, say, take_orders

HOST = "127.0.0.3"
EVERY = 0.01  # seconds between two questions of one probe
PATIENCE = 20.0  # seconds until a probe gives a reply up


def http_reply(data: bytes) -> tuple[bytes, bytes]:
    """(what to answer to the first whole request of `data`, the rest); (b"", data) where none is whole."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return b"", data
    token = head.partition(b"X-Token: ")[2].partition(b"\r\n")[0]
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Token: %s\r\n\r\n%s" % (
        len(token),
        token,
        token,
    ), rest


def redis_reply(data: bytes) -> tuple[bytes, bytes]:
    """ECHO is answered, and whatever else muxproxy may ask."""
    lines = data.split(b"\r\n")
    if not lines[0].startswith(b"*"):
        return b"", data
    count = int(lines[0][1:])
    if len(lines) < 2 * count + 2:
        return b"", data
    words = lines[2 : 2 * count + 1 : 2]
    rest = b"\r\n".join(lines[2 * count + 1 :])
    if words[0].upper() == b"ECHO":
        return b"$%d\r\n%s\r\n" % (len(words[1]), words[1]), rest
    return b"-ERR unknown command\r\n", rest


def dubbo_reply(data: bytes) -> tuple[bytes, bytes]:
    """Its body comes back; a heartbeat is answered."""
    if len(data) < 16:
        return b"", data
    flags, tag, length = data[2], data[4:12], struct.unpack(">I", data[12:16])[0]
    if len(data) < 16 + length:
        return b"", data
    body, rest = data[16 : 16 + length], data[16 + length :]
    return dubbo(0x22 if flags & 0x20 else 2, 20, int.from_bytes(tag, "big"), body), rest


def tcp_reply(data: bytes) -> tuple[bytes, bytes]:
    return data, b""


REPLY: dict[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "http": http_reply,
    "redis": redis_reply,
    "dubbo": dubbo_reply,
    "tcp": tcp_reply,
}


class Honest(asyncio.Protocol):
    def __init__(self, reply: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        self._reply = reply
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while self._rest:
            answer, self._rest = self._reply(self._rest)
            if not answer:
                return
            self._transport.write(answer)


def question(protocol: str, number: int) -> tuple[bytes, bytes]:
    """(request, the whole right reply)"""
    token = b"probe-%d" % number
    if protocol == "http":
        asked = b"GET /%s HTTP/1.1\r\nHost: probe\r\nX-Token: %s\r\n\r\n" % (token, token)
    elif protocol == "redis":
        asked = command(b"ECHO", token)
    elif protocol == "dubbo":
        asked = call(number, b"echo", bytes((len(token),)) + token)
    else:
        asked = token
    return asked, REPLY[protocol](asked)[0]


class Probe:
    def __init__(self, protocol: str, port: int) -> None:
        self.protocol = protocol
        self.port = port
        self.times: list[float] = []  # seconds from the question to the last byte of the reply
        self.work: list[float] = []  # seconds of CPU that the worker took meanwhile, if there is a meter
        self.wrong: list[str] = []
        self.meter: Callable[[], float] | None = None
        self._since: float | None = None  # what it showed when the open question began

    def begin_anew(self, meter: Callable[[], float]) -> None:
        """What was before is nobody's fault, be it of a question that is still open."""
        self.meter = meter
        self._since = None if self._since is None else meter()
        for seen in (self.times, self.work, self.wrong):
            seen.clear()

    def _on_worked(self) -> None:
        if self.meter is not None and self._since is not None:
            self.work.append(self.meter() - self._since)
        self._since = None

    async def ask(self, number: int, streams: Any) -> Any:
        """One question; a connection of its own, or the last one's once more."""
        began = time.monotonic()
        self._since = None if self.meter is None else self.meter()
        asked, right = question(self.protocol, number)
        try:
            if streams is None:
                streams = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
            streams[1].write(asked)
            got = await asyncio.wait_for(streams[0].readexactly(len(right)), PATIENCE)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.wrong.append(f"{number}: {error!r}")
            return None
        finally:
            self._on_worked()
        self.times.append(time.monotonic() - began)
        if got != right:
            self.wrong.append(f"{number}: {got!r} instead of {right!r}")
        if number % 3:
            return streams
        streams[1].close()
        return None

    async def run(self, stopped: asyncio.Event) -> None:
        streams, number = None, 0
        while not stopped.is_set():
            number += 1
            streams = await self.ask(number, streams)
            await asyncio.sleep(EVERY)

    def result(self) -> dict[str, Any]:
        """An open question counts as far as it has come."""
        self._on_worked()
        times = sorted(self.times) or [float("inf")]
        p50, p99 = (times[int(len(times) * part)] for part in (0.5, 0.99))
        found = {"asked": len(self.times), "p50": p50, "p99": p99, "max": times[-1]}
        if self.work:
            found["work"] = sorted(self.work)[int(len(self.work) * 0.99)]
        return found | {"wrong": self.wrong[:20], "wrongs": len(self.wrong)}


Orders = Callable[[list[Probe], dict[str, Any]], None]  # what a further line of them is for


def results(probes: list[Probe]) -> dict[str, dict[str, Any]]:
    return {probe.protocol: probe.result() for probe in probes}


async def run(on_orders: Orders) -> None:
    loop = asyncio.get_running_loop()
    ports = {}
    for protocol, reply in REPLY.items():
        server = await loop.create_server(lambda reply=reply: Honest(reply), HOST, 0)
        ports[protocol] = server.sockets[0].getsockname()[1]
    say(ports)
    orders = await loop.run_in_executor(None, take_orders)
    probes = [Probe(protocol, port) for protocol, port in orders.items()]
    stopped = asyncio.Event()

    def on_line() -> None:
        line = sys.stdin.buffer.readline()
        if line:
            say(results(probes))
            on_orders(probes, json.loads(line))
        else:
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()

    loop.add_reader(sys.stdin.fileno(), on_line)
    await asyncio.gather(*(probe.run(stopped) for probe in probes))
    say(results(probes))


def main(on_orders: Orders = lambda probes, orders: None) -> None:
    take_orders()
    go_first()  # what it measures is muxproxy's time, not the wait for a core that the attackers keep busy
    asyncio.run(run(on_orders))


if __name__ == "__main__":
    main()
