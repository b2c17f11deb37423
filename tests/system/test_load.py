"""The clients that judge replies, judged: each kind of wrong is told from right, directly at the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.lateness import Lateness
from tests.system.load import CLOSED, CUT, REFUSED, RIGHT, TIMEOUT, UNCONNECTED, WRONG, Load, Plan, run
from tests.system.origins import FullBacklog, Program, listening

COUNT = 20


@pytest.fixture(scope="module")
def server(namespace: None) -> Iterator[Program]:
    with Program("script") as server:
        yield server


@pytest.mark.parametrize("keep_alive", [False, True], ids=["a-connection-each", "keep-alive"])
@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/echo", RIGHT),
        ("/refuse", REFUSED),
        ("/wrong", WRONG),
        ("/extra", WRONG),
        ("/cut", CUT),
        ("/drop", CLOSED),
        ("/until-close", WRONG),  # not framed as it was asked to be
    ],
)
def test_every_end_of_a_request_is_told_apart(
    server: Program, path: str, outcome: str, keep_alive: bool
) -> None:
    plan = Plan(server.host, server.port, parallel=5, requests=COUNT, path=path, keep_alive=keep_alive)
    assert run(plan, within=20).outcomes == {outcome: COUNT}


def test_a_refused_connection_and_one_that_hangs_are_told_apart() -> None:
    with listening() as sock:
        address = sock.getsockname()
    assert run(Plan(*address, parallel=5, requests=COUNT), within=20).outcomes == {UNCONNECTED: COUNT}
    with FullBacklog() as hang:
        plan = Plan(hang.host, hang.port, parallel=COUNT, requests=COUNT, patience=0.3)
        assert run(plan, within=20).outcomes == {TIMEOUT: COUNT}


def test_an_open_loop_keeps_its_pace_though_nobody_answers() -> None:
    with FullBacklog() as hang:
        plan = Plan(hang.host, hang.port, parallel=1000, requests=200, rate=400, patience=1)
        with Load(plan) as load, Lateness(*load.pids) as lateness:
            results = load.results(within=20)
    began = [record.began for record in results.records]
    assert results.skipped == 0
    assert len(began) == 200
    late = lateness.between(0.0, max(began))
    assert 0.45 - late < max(began) - min(began) < 0.8 + late


def test_a_load_without_an_end_goes_on_until_it_is_stopped(server: Program) -> None:
    with Load(Plan(server.host, server.port, parallel=4), processes=2) as load:
        results = load.stop()
    assert set(results.outcomes) == {RIGHT}
    assert results.seconds > 0
