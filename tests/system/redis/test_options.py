"""`fence` and `batch`: the judge of the torture sees no difference, and the server sees what they do."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.sizes import size
from tests.system.redis.proxied import BOUND, proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.test_torture import Torture
from tests.system.redis.torture import RIGHT
from tests.system.redis.wire import Wire, command

COMMANDS = size(10_000, 20_000)
CLIENTS = 200
MOST_AT_ONCE = 32  # commands of one client
# On a busy machine all may ask in one turn of the loop, before the first connection is there, and be silent
# for a second in the middle of MULTI.
TABLES = {
    "clients": {"backlog": CLIENTS, "hold_timeout": "60s"},
    "queue": {"max_waiting": MOST_AT_ONCE * CLIENTS, "timeout": "30s"},
}


@pytest.mark.parametrize(
    "options",
    [
        {"fence": 10},
        {"batch": {"commands": 3, "delay": "5ms"}},
        {"fence": 1, "batch": {"commands": 16, "delay": "1ms"}},
    ],
    ids=["fence", "batch", "both"],
)
def test_every_reply_is_right_with_fences_and_batches(namespace: None, options: dict[str, object]) -> None:
    with (
        RedisServer() as server,
        proxied(server, redis=options, **TABLES) as proxy,
        Torture(proxy.host, proxy.port, CLIENTS, processes=1) as torture,
    ):
        torture.go(COMMANDS)
        results = torture.results(60)
        assert set(results.outcomes) == {RIGHT}
        assert ("fence" in options) == (commands(server)["echo"] > COMMANDS / 20)


def test_a_fence_stands_behind_every_n_commands(clean: RedisServer) -> None:
    """Of commands that stand alone; a pipeline is not torn apart, its fence stands behind it."""
    clients, rounds, fence = 30, 50, 10
    clean.ask("CONFIG", "RESETSTAT")
    with proxied(clean, redis={"fence": fence}) as proxy, ExitStack() as stack:
        wires = [stack.enter_context(Wire(proxy.address)) for _ in range(clients)]
        for turn in range(rounds):
            for wire in wires:
                wire.send(command("SET", "a", turn))
            assert {wire.reply() for wire in wires} == {b"+OK\r\n"}
        calls = commands(clean)
        assert calls["set"] == clients * rounds
        assert calls["echo"] >= calls["set"] // fence - BOUND  # what each connection counts towards its next


def test_a_batch_never_makes_a_lone_command_wait(clean: RedisServer) -> None:
    """Only while something is in flight is there anything to wait for: 20 delays would be 20 seconds."""
    batch = {"commands": 100, "delay": "1s"}
    with proxied(clean, redis={"batch": batch}) as proxy, Wire(proxy.address) as wire:
        began = time.monotonic()
        for turn in range(20):
            assert wire.ask("SET", "a", turn) == b"+OK\r\n"
        assert time.monotonic() - began < 10


def commands(server: RedisServer) -> dict[str, int]:
    """Name -> calls, as the server has counted."""
    return {
        name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
        for name, value in server.info("commandstats").items()
    }
