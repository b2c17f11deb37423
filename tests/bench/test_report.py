"""How figures are put together: medians, spreads, ratios, and a contestant that failed."""

from __future__ import annotations

import pytest

from tests.bench import report
from tests.bench.http import HttpSuite
from tests.bench.measure import Figures, Load
from tests.bench.report import Row

LOAD = Load("keep", "keep-alive", 64)


def figures(*, cpu: float, done: int = 1_000_000, errors: int = 0, others: float = 0.0) -> Figures:
    return Figures(done, 10.0, 900.0, 2500.0, errors, cpu, sockets=8, others=others)


def cells(rows: list[Row]) -> list[list[str]]:
    table = report.load_table(HttpSuite.columns, rows).split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def test_cpu_per_request_is_the_contestants_cpu_over_the_requests_done():
    assert figures(cpu=18.0).cpu_us == pytest.approx(18.0)


def test_no_request_done_is_not_a_division_by_zero():
    assert figures(cpu=1.0, done=0).cpu_us == pytest.approx(1e6)


def test_the_table_shows_median_spread_and_ratio_to_the_reference_and_none_for_direct():
    ours, reference, direct = cells(
        [
            Row(LOAD, "muxproxy", [figures(cpu=24), figures(cpu=22, errors=2), figures(cpu=20)]),
            Row(LOAD, "haproxy", [figures(cpu=20)] * 3),
            Row(LOAD, "direct", [figures(cpu=0)] * 3, has_proxy=False),
        ]
    )
    assert ours == [
        "keep-alive", "muxproxy", "100,000 (100,000..100,000)", "22.0 (20.0..24.0)", "1.10 (1.00..1.20)",
        "900 µs", "2.5 ms", "2", "8", "0", "220%",
    ]  # a table  # fmt: skip
    assert reference[4] == "1.00 (1.00..1.00)"
    assert direct[3:5] == ["-", "-"]


def test_who_failed_has_no_figures_and_the_reason_stands_below():
    rows = [
        Row(LOAD, "muxproxy", [figures(cpu=24)]),
        Row(LOAD, "haproxy", [], failed="it refused"),
    ]
    ours, failed = cells(rows)
    assert ours[4] == "-"  # no reference, no ratio
    assert set(failed[2:]) == {"failed"}
    assert report.load_table(HttpSuite.columns, rows).endswith("keep-alive, haproxy: it refused")


def test_memory_per_client_is_the_growth_and_not_the_whole():
    looks = [
        report.Memory(1000, before_kib=10_240, after_kib=after, asked=asked, silent=25)
        for asked, after in ((1, 12_288), (1, 12_188), (3, 14_336), (1, 12_388))
    ]
    table = report.memory_table({"haproxy": looks})
    once, often = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:])
    assert once == [
        "1,000: one request each, silent for 25 s", "haproxy", "2.05 (1.95..2.15)", "10.0 MiB", "12.0 MiB",
    ]  # a table  # fmt: skip
    assert often[0] == "1,000: 3 requests each, silent for 25 s"
    assert often[2] == "4.10 (4.10..4.10)"


def test_what_a_proxy_adds_is_its_figure_less_that_of_the_same_round_without_it():
    slow, slower = figures(cpu=1), figures(cpu=1)
    slower.p50_us = 963.2
    ours = Row(LOAD, "muxproxy", [slow, slower])
    direct = Row(LOAD, "direct", [figures(cpu=0), figures(cpu=0)], has_proxy=False)
    column = report.difference("adds", "direct", lambda one: one.p50_us)
    assert column.cell(ours, [ours, direct]) == "31.6 (0.0..63.2)"
    assert column.cell(direct, [ours, direct]) == "-"
    assert column.cell(ours, [ours]) == "-"


def test_a_summary_tells_all_others_cpu_in_that_of_each_suites_reference():
    other = Load("64", "64 clients", 64)
    web = [Row(LOAD, "muxproxy", [figures(cpu=19)]), Row(LOAD, "haproxy", [figures(cpu=20)])]
    cache = [
        Row(other, "muxproxy", [figures(cpu=9)]),
        Row(other, "haproxy", [], failed="it refused"),
        Row(other, "twemproxy", [figures(cpu=12)]),
        Row(other, "direct", [figures(cpu=0)], has_proxy=False),
    ]
    table = report.summary([("http", "haproxy", web), ("redis", "twemproxy", cache)])
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    assert [lines[0], *lines[2:]] == [
        ["load", "CPU in that of", "muxproxy"],
        ["http: keep-alive", "haproxy", "0.95 (0.95..0.95)"],
        ["redis: 64 clients", "twemproxy", "0.75 (0.75..0.75)"],
    ]


def test_the_machines_noise_is_told_with_its_spread():
    rows = [Row(LOAD, "muxproxy", [figures(cpu=1, others=share) for share in (0.01, 0.5, 0.02)])]
    line = report.machine({"nginx": "1.2"}, 0.25, rows)
    assert "nginx 1.2" in line
    assert line.endswith("load average before 0.2; others had 2% (1%..50%) of the proxies' core")
