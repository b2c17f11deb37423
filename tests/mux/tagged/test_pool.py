"""What a pool of TAGGED connections takes its protocol's word for, and where requests of one turn go."""

from __future__ import annotations

import pytest

from muxproxy.mux.shared.pool import LITTLE, TOGETHER
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.tagged_toys import TaggedToy, tagged


def test_a_protocol_may_hold_more_of_a_request_than_clients_may_elsewhere() -> None:
    toy = TaggedToy()
    toy.request_buffer = 1000
    assert Stage(toy, request_buffer=10).pool.clients_config.request_buffer == 1000
    assert Stage(toy, request_buffer=5000).pool.clients_config.request_buffer == 5000


def test_what_only_its_protocol_counts_is_seen_beside_what_all_count() -> None:
    toy = TaggedToy()
    stage = Stage(toy)
    toy.counters["odd"] = 3
    stage.pool.count_event("rare")
    assert stage.statistics()["events"] == {"rare": 1, "odd": 3}


@pytest.mark.parametrize("size", [0, LITTLE])
def test_small_requests_of_one_turn_gather_on_few_connections_and_large_ones_in_nobodys_way(
    size: int,
) -> None:
    """P5: what is small does not go behind what is large while there is another connection."""
    stage = Stage(Sharing.TAGGED, max_connections=3, min_connections=3, request_buffer=2 * LITTLE)
    servers = [stage.connects() for _ in range(3)]
    for _ in servers:
        stage.asks(tagged(1, b"n\n"))  # there is something in flight on each: what comes now is gathered
    assert [server.got().count(b"\n") for server in servers] == [1, 1, 1]
    clients = [stage.client() for _ in range(40)]
    with stage.turn():
        for client in clients[:5]:
            client.sends(tagged(2, b"n\n"))
    assert sorted(server.got().count(b"\n") for server in servers) == [0, 0, 5], "they are one write"
    large = tagged(1, b"large +%d\n" % LITTLE + bytes(LITTLE))
    with stage.turn():
        for number, client in enumerate(clients):
            client.sends(large if size and not number % 20 else tagged(1, b"n\n"))
    got = [server.got() for server in servers]
    counts = [data.count(b" n\n") + data.count(b" large") for data in got]
    assert sum(counts) == 40
    assert max(counts) - min(counts) <= TOGETHER
    for data in got:
        small, _, behind = data.partition(b" large")
        assert len(small) < 2 * LITTLE
        assert size or not behind


def test_a_clients_calls_stay_together_where_others_gather_too() -> None:
    stage = Stage(Sharing.TAGGED, max_connections=4, min_connections=4)
    servers = [stage.connects() for _ in range(4)]
    clients = [stage.client() for _ in range(16)]
    with stage.turn():
        for client in clients:
            client.sends(b"".join(tagged(n, b"n\n") for n in range(8)))
    for server in servers:
        tags = [int(line[:8]) for line in server.got().splitlines()]
        server.sends(b"".join(tagged(tag, b"n\n") for tag in tags))
    assert [len(client.wire.writes) for client in clients] == [1] * 16
