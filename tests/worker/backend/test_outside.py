"""Pools of destinations get their protocols, and names their addresses, as long as they are destinations."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from muxproxy.config.destination import Destination
from muxproxy.config.model import Backend
from muxproxy.worker.backend.outside import Surroundings
from muxproxy.worker.engine import Engine
from tests.configured import backend
from tests.worker.backend.test_resolver import FakeNames


def config() -> Backend:
    made = backend((), {"name_ttl": 60.0})
    return replace(made, protocol="redis", upstream=replace(made.upstream, to="original", servers=()))


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
