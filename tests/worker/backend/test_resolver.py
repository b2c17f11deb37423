"""Names into addresses, again and again; what a name server does not know changes nothing that is known."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec

from muxproxy.protocols.contract import Sharing
from muxproxy.worker.backend.resolver import Resolver
from tests.fakes import Stage


class FakeNames:
    """getaddrinfo() of a loop."""

    def __init__(self) -> None:
        self.book: dict[str, list[str] | OSError] = {}
        self.questions: list[str] = []
        self._asked = asyncio.Event()

    async def getaddrinfo(self, host: str, port: int, *, type: int) -> list[tuple]:
        assert type == socket.SOCK_STREAM
        self.questions.append(host)
        self._asked.set()
        found = self.book[host]
        if isinstance(found, OSError):
            raise found
        return [(None, None, None, "", (address, port)) for address in found]

    async def until_asked(self, more: int) -> None:
        """So many questions from now on: on a slow machine one may have been asked since the last."""
        times = len(self.questions) + more
        async with asyncio.timeout(10):
            while len(self.questions) < times:
                self._asked.clear()
                await self._asked.wait()
            await asyncio.sleep(0)  # for the answer to arrive


def with_names(
    scene: Callable[[Stage, FakeNames, Resolver], Awaitable[None]], *servers: str, **keys: object
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        names = FakeNames()
        loop.getaddrinfo = names.getaddrinfo
        stage = Stage(Sharing.EXCLUSIVE, servers=servers, name_ttl=0.01, **keys)
        stage.pool.set_servers([], 0.0)
        resolver = Resolver(stage.pool, lambda: stage.world.now)
        await scene(stage, names, resolver)

    asyncio.run(main())


def addresses(stage: Stage) -> list[str]:
    return [server["address"] for server in stage.statistics()["servers"]]


def test_addresses_need_no_resolving() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        assert resolver.start() is None
        assert addresses(stage) == ["10.0.0.5:80", "[fd00::5]:80", "unix:/run/app.sock"]
        assert names.questions == []

    with_names(scene, "10.0.0.5:80", "[fd00::5]:80", "unix:/run/app.sock")


def test_a_name_gives_all_its_addresses_in_the_place_where_it_stands() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1", "fd00::1"]
        task = resolver.start()
        assert task is not None
        await names.until_asked(1)
        assert addresses(stage) == ["10.0.0.9:1", "10.0.0.1:80", "[fd00::1]:80"]
        task.cancel()

    with_names(scene, "10.0.0.9:1", "api.internal:80")


def test_a_name_is_resolved_again_and_its_new_addresses_take_the_place_of_the_old() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1", "10.0.0.2"]
        task = resolver.start()
        assert task is not None
        await names.until_asked(1)
        names.book["api.internal"] = ["10.0.0.2", "10.0.0.3"]
        await names.until_asked(1)
        assert addresses(stage) == ["10.0.0.2:80", "10.0.0.3:80"]
        task.cancel()

    with_names(scene, "api.internal:80")


def test_a_name_servers_trouble_changes_nothing_and_is_told_once() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1"]
        task = resolver.start()
        assert task is not None
        await names.until_asked(1)
        names.book["api.internal"] = OSError(-3, "Temporary failure in name resolution")
        await names.until_asked(3)
        assert addresses(stage) == ["10.0.0.1:80"]
        error = "api.internal:80: Temporary failure in name resolution"
        assert stage.pool.resolve_error == error
        assert [fields["error"] for event, fields in stage.world.lines if "name" in event] == [error]
        names.book["api.internal"] = ["10.0.0.1"]
        await names.until_asked(1)
        assert stage.pool.resolve_error == ""
        task.cancel()

    with_names(scene, "api.internal:80")


def test_a_name_that_resolves_to_nothing_changes_nothing() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1"]
        task = resolver.start()
        assert task is not None
        await names.until_asked(1)
        names.book["api.internal"] = []
        await names.until_asked(2)
        assert addresses(stage) == ["10.0.0.1:80"]
        assert "api.internal:80" in stage.pool.resolve_error
        task.cancel()

    with_names(scene, "api.internal:80")


def test_one_name_in_trouble_does_not_keep_the_others_back() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["bad.internal"] = OSError(-2, "Name or service not known")
        names.book["good.internal"] = ["10.0.0.1"]
        task = resolver.start()
        assert task is not None
        await names.until_asked(2)
        assert addresses(stage) == ["10.0.0.1:80"]
        task.cancel()

    with_names(scene, "bad.internal:80", "good.internal:80")


def reloads(stage: Stage, resolver: Resolver, *servers: str) -> None:
    """As a worker does it."""
    stage.config = msgspec.structs.replace(
        stage.config, upstream=msgspec.structs.replace(stage.config.upstream, servers=servers)
    )
    stage.pool.configure(stage.config, stage.world.now)
    resolver.configure()


def test_from_addresses_to_a_name_and_back_without_a_moment_with_no_server() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        assert resolver.start() is None
        names.book["api.internal"] = OSError(-2, "Name or service not known")
        reloads(stage, resolver, "api.internal:80")
        await names.until_asked(2)
        assert addresses(stage) == ["10.0.0.9:1"], "until something of what is configured is known"
        names.book["api.internal"] = ["10.0.0.1"]
        await names.until_asked(1)
        assert addresses(stage) == ["10.0.0.1:80"]
        assert stage.pool.resolve_error == ""
        reloads(stage, resolver, "10.0.0.9:1")
        assert addresses(stage) == ["10.0.0.9:1"]
        asked = len(names.questions)
        await asyncio.sleep(0.05)
        assert len(names.questions) == asked

    with_names(scene, "10.0.0.9:1")


def test_what_is_removed_is_gone_at_once_and_what_a_name_has_given_is_kept_for_a_while() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1"]
        resolver.start()
        await names.until_asked(1)
        stage.asks(b"a\n")
        stage.asks(b"b\n")
        servers = {u.server.address: stage.connects(u) for u in list(stage.dials)}
        names.book["api.internal"] = ["10.0.0.2"]
        await names.until_asked(2)
        assert set(addresses(stage)) == {"10.0.0.9:1", "10.0.0.1:80", "10.0.0.2:80"}  # absent, not gone
        reloads(stage, resolver, "api.internal:80")
        assert set(addresses(stage)) == {"10.0.0.1:80", "10.0.0.2:80"}
        for address in ("10.0.0.9:1", "10.0.0.1:80"):
            servers[address].sends(servers[address].got()[:1] + b"\n")
        assert not servers["10.0.0.9:1"].is_open
        assert servers["10.0.0.1:80"].is_open
        reloads(stage, resolver, "10.0.0.9:1")
        assert addresses(stage) == ["10.0.0.9:1"]
        assert not servers["10.0.0.1:80"].is_open

    with_names(scene, "10.0.0.9:1", "api.internal:80", max_connections=2)


def test_a_reload_that_changes_neither_servers_nor_ttl_asks_nobody() -> None:
    async def scene(stage: Stage, names: FakeNames, resolver: Resolver) -> None:
        names.book["api.internal"] = ["10.0.0.1"]
        task = resolver.start()
        await names.until_asked(1)
        reloads(stage, resolver, "api.internal:80")
        assert resolver._task is task
        stage.configure(name_ttl=100.0)
        resolver.configure()
        await names.until_asked(1)
        asked = len(names.questions)
        await asyncio.sleep(0.05)
        assert len(names.questions) == asked, "the new one counts"
        resolver.close()

    with_names(scene, "api.internal:80")
