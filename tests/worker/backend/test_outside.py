"""Pools of destinations get their protocols, and names their addresses, as long as they are destinations."""

from __future__ import annotations

import asyncio
import socket

from msgspec.structs import replace

from muxproxy.config.destination import Destination
from muxproxy.config.model import Backend
from muxproxy.worker.backend.outside import Surroundings
from muxproxy.worker.engine import Engine
from tests.configured import backend
from tests.fakes import FakeWorld, RecordingWire
from tests.worker.backend.test_resolver import FakeNames


def config() -> Backend:
    made = backend((), {"name_ttl": 60.0})
    return replace(made, protocol="redis", upstream=replace(made.upstream, to="original", servers=()))


def host() -> Backend:
    made = backend((), {"name_ttl": 60.0})
    return replace(made, protocol="http", upstream=replace(made.upstream, to="host", servers=()))


def test_names_are_looked_up_and_addresses_are_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        names = FakeNames()
        names.book = {"cache.example": ["10.0.0.2", "fd00::2", "10.0.0.3"]}
        loop.getaddrinfo = names.getaddrinfo
        engine = Engine(loop, lambda *line: None)
        surroundings = Surroundings(engine)
        front = surroundings.new_front(config())
        literal = front.lead(Destination("10.0.0.1", 6379), 0.0)
        assert literal is not None
        assert [server.address for server in literal.servers] == ["10.0.0.1:6379"]
        named = front.lead(Destination("cache.example", 6379), 0.0)
        assert named is not None
        await names.until_asked(1)
        await asyncio.sleep(0)
        told = [server.address for server in named.servers]
        assert told == ["10.0.0.2:6379", "[fd00::2]:6379", "10.0.0.3:6379"]
        assert named.protocol is not literal.protocol
        surroundings.close()
        assert len(asyncio.all_tasks()) <= 2

    asyncio.run(main())


def test_who_waits_for_a_name_that_there_is_none_of_is_told_and_the_log_is_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        names, lines = FakeNames(), []
        names.book = {
            "nowhere.example": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "later.example": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        }
        loop.getaddrinfo = names.getaddrinfo
        engine = Engine(loop, lambda *line: lines.append(line))
        surroundings, now = Surroundings(engine), engine.time()
        front = surroundings.new_front(host())
        clients = []
        for name in names.book:
            wire = RecordingWire(FakeWorld())
            client = wire.brain = front.new_client(wire, now)
            client.on_opened(now, b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
            clients.append(wire)
        await names.until_asked(2)
        await asyncio.sleep(0)
        assert clients[0].received.startswith(b"HTTP/1.1 502 ")
        assert b"nowhere.example:80: Name or service not known" in clients[0].received
        assert not clients[1].received, "that may pass"
        assert lines == []
        surroundings.close()

    asyncio.run(main())


def test_all_destinations_of_hosts_speak_one_protocol_for_each_request_says_where_it_goes() -> None:
    async def main() -> None:
        surroundings = Surroundings(Engine(asyncio.get_running_loop(), lambda *line: None))
        front = surroundings.new_front(host())
        pools = [front.lead(Destination(f"10.0.0.{number}", 80), 0.0) for number in (1, 2)]
        assert all(pool is not None and pool.protocol is front.protocol for pool in pools)
        surroundings.close()

    asyncio.run(main())
