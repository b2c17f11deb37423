"""Failed requests in the log: what is new, and no more than a line per reason."""

from __future__ import annotations

from muxproxy.mux.base.failures import Failures
from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage
from tests.toys import Toy


def test_a_reason_is_told_once_with_its_count_and_how_full_the_backend_is() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, max_waiting=1)
    failures = Failures(stage.pool)
    assert failures.news() == []
    clients = [stage.asks(b"x\n") for _ in range(5)]
    (line,) = failures.news()
    assert line == {
        "backend": stage.pool.name,
        "reason": "queue_full",
        "count": 4,  # one waits: nobody is connected yet
        "waiting": "1/1",
        "connections": "1/1",
        "clients": f"{len(clients)}/{stage.pool.clients_config.max_connections}",
    }
    assert failures.news() == []
    stage.asks(b"x\n")
    assert [line["count"] for line in failures.news()] == [1]


def test_each_reason_has_its_own_line() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, max_waiting=1)
    failures = Failures(stage.pool)
    for data in (b"x\n", b"x\n", b"x\n", b"!\n"):
        stage.asks(data)
    assert {line["reason"]: line["count"] for line in failures.news()} == {"queue_full": 2, "bad_request": 1}


def test_who_was_served_or_has_left_is_not_told() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=1, max_waiting=1)
    failures = Failures(stage.pool)
    alice = stage.asks(b"x\n")
    stage.connects().sends(b"x\n")
    assert alice.got() == b"x\n"
    stage.asks(b"x\n").closes()
    assert stage.statistics()["outcomes"]["abandoned"] == {"client_left": 1}
    assert failures.news() == []


def test_a_remark_of_the_protocols_is_told_once() -> None:
    said = ["one"]
    toy = Toy(Sharing.EXCLUSIVE)
    toy.remarks = lambda: said
    failures = Failures(Stage(toy).pool)
    assert failures.remarks() == [{"backend": "toys", "remark": "one"}]
    said[0] = "one, more often"
    said.append("two")
    assert failures.remarks() == [{"backend": "toys", "remark": "two"}]
    assert failures.remarks() == []
