"""What a pool of TAGGED connections takes its protocol's word for."""

from __future__ import annotations

from tests.fakes import Stage
from tests.tagged_toys import TaggedToy


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
