"""The demo's figures: what counts as shown, how it is told, and the picture of sockets over time."""

from __future__ import annotations

import pytest

from muxproxy.cli.demo.figures import BOUND, CLIENTS, Leg, bars, clients_for, milliseconds, problems, summary


def legs() -> tuple[Leg, Leg]:
    direct, through = Leg("direct", 4.0), Leg("through muxproxy", 6.0, has_pool=True)
    direct.peak, direct.opened, direct.replies = 2000, 36412, 36412
    through.peak, through.opened, through.replies = 8, 8, 42113
    return direct, through


@pytest.mark.parametrize(
    ("nofile", "clients"), [(1_048_576, CLIENTS), (20_000, CLIENTS), (1024, 308), (64, 0)]
)
def test_the_number_of_clients_follows_the_descriptor_limit(nofile: int, clients: int) -> None:
    assert clients_for(nofile) == clients


def test_the_summary_sets_the_two_numbers_side_by_side_within_eighty_columns() -> None:
    lines = summary(*legs())
    assert lines[0] == "direct           = 2,000 sockets at the origin, 36,412 opened, 36,412 replies"
    assert lines[1] == "through muxproxy =     8 sockets at the origin,      8 opened, 42,113 replies"
    assert max(map(len, lines)) <= 80


def test_a_ninth_socket_a_wrong_reply_and_no_replies_are_each_a_failure() -> None:
    direct, through = legs()
    assert problems(direct, through) == []
    direct.replies = 0
    through.peak = BOUND + 1
    through.errors = {"status 503": 2, "somebody else's reply": 1}
    assert problems(direct, through) == [
        "direct: no replies at all",
        "through muxproxy: 3 requests without the right reply (status 503: 2, somebody else's reply: 1)",
        "through muxproxy: 9 sockets at the origin, above the bound of 8",
    ]
    assert [line for line in summary(direct, through) if line.startswith("FAILED: ")] == [
        f"FAILED: {problem}" for problem in problems(direct, through)
    ]


def test_the_rate_is_that_of_the_last_second_and_in_the_end_of_the_whole() -> None:
    leg, _ = legs()
    rest = {"connected": 7, "errors": {}, "p50": 0.1, "p99": 0.2}
    for tenth in range(1, 21):
        replies = 10 * tenth if tenth <= 10 else 100 + 50 * (tenth - 10)
        leg.on_tick(rest | {"seconds": tenth / 10, "replies": replies})
    assert leg.rate == pytest.approx(500)
    leg.on_done(rest | {"seconds": 2.0, "replies": 600, "connected": 0})
    assert leg.rate == pytest.approx(300)
    assert (leg.connected, leg.most_connected) == (0, 7)


def test_bars_are_full_at_the_top_and_one_eighth_for_very_little() -> None:
    history = [(0.0, 0), (0.3, 1), (0.6, 500), (0.9, 1000)]
    assert bars(history, seconds=1.2, width=4, height=2, top=1000) == ["   █", " ▁██"]


def test_a_column_shows_the_most_of_its_time_and_a_gap_what_was_before() -> None:
    history = [(0.0, 4), (0.1, 8), (0.2, 2), (2.5, 8), (9.9, 4)]  # the last one is beyond the end
    assert bars(history, seconds=4.0, width=4, height=1, top=8) == ["███▄"]


def test_milliseconds_have_a_digit_where_it_matters() -> None:
    assert [milliseconds(s) for s in (0.0012, 0.2134, 1.5)] == ["1.2 ms", "213 ms", "1,500 ms"]
