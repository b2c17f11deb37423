"""1,000 subscribers of 100 channels and 50 blocked poppers at once, over eight sockets."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.system.process import Child, wait_for
from tests.system.redis.listeners import Plan
from tests.system.redis.proxied import BOUND, proxied
from tests.system.redis.server import RedisServer

TABLES = {
    "clients": {"max_connections": 3000, "backlog": 2048},
    "queue": {"max_waiting": 3000, "timeout": "30s"},  # a blocked popper waits for its place
    "upstream": {"max_connections": BOUND, "max_pinned": 6},  # two of them feeds
}


def do(child: Child, *orders: str) -> None:
    for order in orders:
        child.tell(order)
        assert child.answer(within=60) == "", order


def test_every_subscriber_gets_every_message_in_order_while_fifty_block(clean: RedisServer) -> None:
    server = clean
    with (
        proxied(server, **TABLES) as proxy,
        Child("tests.system.redis.listeners", asdict(Plan(proxy.host, proxy.port))) as crowd,
    ):
        do(crowd, "subscribe")
        # A channel is subscribed upstream once per RESP version.
        assert server.ask("PUBSUB", "NUMSUB", "channel:42").endswith(b":2\r\n")
        do(crowd, "block")
        wait_for(
            lambda: sum("b" in client["flags"] for client in server.clients()) == 4,
            within=10,
            what="as many are blocked as may be pinned",
        )
        assert proxy.backend()["pinned"] == {"listening": 2, "blocking": 4}
        do(crowd, "publish", "pop")
        assert len(server.clients()) <= BOUND
    assert server.ask("PUBSUB", "CHANNELS") == b"*0\r\n"


@pytest.mark.parametrize("disturb", [False, True])
def test_a_message_too_many_is_seen(clean: RedisServer, disturb: bool) -> None:
    """The crowd as judge, direct at the server: a number that is not its turn."""
    plan = Plan(clean.host, clean.port, subscribers=100, poppers=1, within=10)
    with Child("tests.system.redis.listeners", asdict(plan)) as crowd:
        do(crowd, "subscribe")
        if disturb:
            clean.ask("PUBLISH", "channel:01", 0)
        crowd.tell("publish")
        assert ("subscriber" in crowd.answer(within=30)) == disturb
