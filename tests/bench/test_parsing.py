"""How figures are read and put together. What they are is never asserted."""

from __future__ import annotations

import os

import pytest

from tests.bench import measure, report
from tests.bench.measure import Figures, Load, WrkResult


def figures(*, cpu: float, requests: int = 1_000_000, errors: int = 0) -> Figures:
    return Figures(WrkResult(requests, 10.0, 900.0, 2500.0, errors), cpu, sockets=8, opened=0)


def test_a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields_of_stat():
    text = "12 (a) R (b) S 7 12 12 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 99 0 0"
    assert measure.parse_stat(text) == (7, 124)  # user 100, system 20, reaped children 3 and 1


def test_a_family_holds_the_process_itself_with_its_cpu():
    assert os.getpid() in measure.family(os.getpid())


def test_pss_is_read_and_not_one_of_its_parts():
    text = (
        "00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: 512 kB\nPss_Anon: 300 kB\n"
    )
    text = text.replace(": ", ":            ")
    assert measure.parse_pss(text) == 512


def test_smaps_without_pss_is_an_error_and_not_zero():
    with pytest.raises(ValueError, match="no Pss"):
        measure.parse_pss("Rss: 900 kB\n")


def test_accepted_connections_are_the_first_figure_of_stub_status():
    reply = "HTTP/1.1 200 OK\r\n\r\nActive connections: 9 \nserver accepts handled requests\n 70 71 9000 \n"
    assert measure.parse_accepted(reply) == 70


def test_wrk_is_read_from_the_line_of_our_own_hook():
    ours = '{"requests": 50, "microseconds": 4000000, "p50": 11, "p99": 22, "errors": 3}'
    output = f"Running 4s test\n  Requests/sec: 9\n{ours}\n"
    assert measure.parse_wrk(output) == WrkResult(50, 4.0, 11, 22, 3)


@pytest.mark.parametrize("closing", [False, True])
def test_only_the_distinct_load_that_closes_writes_connection_close_into_its_heads(closing):
    script = measure.lua_script(Load("x", "x", 1, closing=closing, distinct=True))
    assert ('["Connection"] = "close"' in script) is closing


def test_cpu_per_request_is_the_contestants_cpu_over_the_requests_done():
    assert figures(cpu=18.0).cpu_us == pytest.approx(18.0)


def test_no_request_done_is_not_a_division_by_zero():
    assert figures(cpu=1.0, requests=0).cpu_us == pytest.approx(1e6)


def test_the_table_shows_median_spread_and_ratio_to_haproxy_and_none_for_direct():
    load = Load("keep", "keep-alive", 64)
    rows = [
        report.Row(
            load, "muxproxy", [figures(cpu=24), figures(cpu=22, errors=2), figures(cpu=20)], has_proxy=True
        ),
        report.Row(load, "haproxy", [figures(cpu=20)] * 3, has_proxy=True),
        report.Row(load, "direct", [figures(cpu=0)] * 3, has_proxy=False),
    ]
    _, _, ours, reference, direct = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in report.load_table(rows).splitlines()
    ]
    assert ours == [
        "keep-alive", "muxproxy", "100,000 (100,000..100,000)", "22.0 (20.0..24.0)", "1.10 (1.00..1.20)",
        "900 µs", "2.5 ms", "2", "8", "0", "220%",
    ]  # fmt: skip
    assert reference[4] == "1.00 (1.00..1.00)"
    assert direct[3:5] == ["-", "-"]


def test_memory_per_client_is_the_growth_and_not_the_whole():
    table = report.memory_table({"haproxy": report.Memory(clients=1000, before_kib=10_240, after_kib=12_288)})
    assert [cell.strip() for cell in table.splitlines()[-1].strip("| ").split("|")] == [
        "1,000", "haproxy", "2.05", "10.0 MiB", "12.0 MiB",
    ]  # fmt: skip
