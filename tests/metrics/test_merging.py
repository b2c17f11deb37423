"""Snapshots of two real pools as one: what is counted is added up, and every key has its rule."""

from __future__ import annotations

from muxproxy.metrics.merging import merged
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy


def a_pool(clients: int, replied: int) -> BackendSnapshot:
    stage = Stage(Toy(Sharing.EXCLUSIVE), max_connections=4, max_waiting=10)
    made = [stage.asks(b"r\n") for _ in range(clients)]
    for _ in range(replied):
        stage.connects().sends(b"done\n")
    assert made
    stage.passes(0.01 * clients)
    return stage.statistics()


def test_one_is_what_it_is() -> None:
    one = a_pool(2, 1)
    assert merged([one]) == one


def test_two_are_added_up() -> None:
    one, other = a_pool(2, 1), a_pool(5, 2)
    both = merged([one, other])
    assert both.keys() == one.keys()
    for key in (
        "clients",
        "waiting",
        "in_flight",
        "upstream_sockets",
        "connects",
    ):
        assert both[key] == one[key] + other[key], key
    assert both["outcomes"]["replied"] == {"ok": 3}
    assert both["upstream"] == {key: one["upstream"][key] + other["upstream"][key] for key in one["upstream"]}
    assert sum(both["queue_wait"]["counts"]) == sum(one["queue_wait"]["counts"]) + sum(
        other["queue_wait"]["counts"]
    )


def test_what_is_the_whole_backends_stays() -> None:
    one, other = a_pool(1, 0), a_pool(6, 0)
    both = merged([one, other])
    assert (both["protocol"], both["queue_timeout"], both["upstream_max"]) == ("toy", one["queue_timeout"], 4)
    assert (both["waiting_max"], both["clients_max"]) == (one["waiting_max"], one["clients_max"])
    assert both["queue_wait"]["bounds"] == one["queue_wait"]["bounds"]
    assert both["oldest_wait"] == max(one["oldest_wait"], other["oldest_wait"])
    assert both["draining"] is False


def test_a_server_is_told_once_and_by_the_worst_that_is_known_of_it() -> None:
    one, other = a_pool(2, 1), a_pool(2, 1)
    other["servers"][0] |= {"state": "backing_off", "failures": 3, "last_error": "refused"}
    other["servers"].append({**other["servers"][0], "address": "second:1"})
    (first, second) = merged([one, other])["servers"]
    assert (first["state"], first["failures"], first["last_error"]) == ("backing_off", 3, "refused")
    assert first["connections"] == one["servers"][0]["connections"] + other["servers"][0]["connections"]
    assert second["address"] == "second:1"


def test_remarks_are_told_once_and_what_one_alone_counts_is_kept() -> None:
    one, other = a_pool(1, 0), a_pool(1, 0)
    one["remarks"], other["remarks"] = ["a"], ["a", "b"]
    other["events"] = {"rests": 2}
    both = merged([one, other])
    assert both["remarks"] == ["a", "b"]
    assert both["events"] == {"rests": 2}


def test_of_certificates_that_ends_first_and_of_sides_the_one_that_is_not_checked_counts() -> None:
    side = {
        "verified": True,
        "handshakes": 2,
        "resumed": 1,
        "failed": 0,
        "error": "",
        "days": {"server": 9.0},
    }
    other = side | {"verified": False, "error": "unreadable", "days": {"server": 8.0}}
    both = merged([{**a_pool(1, 0), "tls": {"upstream": one}} for one in (side, other)])
    assert both["tls"]["upstream"] == {
        "verified": False,
        "handshakes": 4,
        "resumed": 2,
        "failed": 0,
        "error": "unreadable",
        "days": {"server": 8.0},
    }
