"""`fence` and `batch`: the judge of the torture sees no difference, and the server sees what they do."""

from __future__ import annotations

import time

import pytest

from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.test_torture import Torture
from tests.system.redis.torture import RIGHT
from tests.system.redis.wire import Wire

COMMANDS = 20_000
CLIENTS = 200


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
        proxied(server, redis=options, clients={"backlog": CLIENTS}) as proxy,
        Torture(proxy.host, proxy.port, CLIENTS, processes=1) as torture,
    ):
        torture.go(COMMANDS)
        results = torture.results(60)
        assert set(results.outcomes) == {RIGHT}
        calls = commands(server)
        echoes, all_calls = calls.pop("echo"), sum(calls.values())
        if "fence" in options:
            assert echoes >= all_calls / (int(str(options["fence"])) + 1)
        else:
            assert echoes < all_calls / 10


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
