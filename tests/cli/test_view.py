"""The text of `status`, line by line: an operator reads every state and every bound of it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from muxproxy.cli.view import format_age, percentile, render
from tests.cli.reports import REPORT

EXPECTED = """\
muxproxy 0.1.0 (compiled)  serving  pid 4711  up 1h 2m
  worker 0  pid 4712  ready
  worker 1  pid -     restarting  3 restarts

orders-api  http  127.0.0.1:8080, unix:/run/o.sock  serving
  clients     2,000 / 10,000
  waiting     12 / 1,000      oldest 125ms of 5s
  upstream    8 / 8           busy 5, pinned 2, connecting 1
  in flight   7
  pinned      2 / 4           upgrade 2
  listening   40              messages 500, channels 3, interrupted 1
  limit       10 / 10         com.acme.Orders.create, 3 wait, 7 have waited, 1 in vain
  remark                      limits do not apply to some
  server      10.0.0.5:80     up  sockets 7, in flight 7
  server      10.0.0.6:80     backing off  sockets 1, in flight 0, failures in a row 3: connection [refused]?
  replied     99              ok 98, local 1
  refused     3               queue_full 3
  lost        1               server_closed 1
  reuse       91.0 %          10 connects, 1 failed, 2 requests sent again
  queue wait  mean 4.45ms     p50 <= 1ms, p90 <= 1ms, p99 <= 20ms
  not reused  5               server said close 4, idle_timeout 1
  events                      heartbeats_answered 6
  bytes                       512 B in, 5.0 MiB out

search  http  127.0.0.1:8081  worker restarting
  clients   - / 500
  waiting   - / 100
  upstream  - / 4
"""


def text(width: int = 120, report: Mapping[str, Any] = REPORT) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(report))
    assert isinstance(console.file, io.StringIO)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


def test_every_number_of_the_state_machine_is_shown_with_its_bound() -> None:
    assert text() == EXPECTED


def test_the_busiest_destinations_are_named_and_of_their_servers_those_in_trouble() -> None:
    one = {"sockets": 8, "in_flight": 7, "waiting": 0, "sent": 900, "connect_failures": 0}
    told = {
        "destinations": {"10.0.0.5:80": one, "others": one | {"sent": 12}},
        "destinations_known": 40,
        "destinations_max": 1024,
        "destinations_forgotten": 3,
    }
    shown = text(report=REPORT | {"backends": {"search": REPORT["backends"]["search"] | told}})
    assert "40 / 1,024" in shown
    assert "3 forgotten" in shown
    assert "sent 900, sockets 8, in_flight 7" in shown
    assert "sent 12" in shown


def test_what_operators_have_changed_stands_beside_what_the_files_say() -> None:
    changed = {"state": "paused", "differs": {"upstream.max_connections": {"file": 8, "now": 1200}}}
    entry = REPORT["backends"]["search"] | changed | {"drained_servers": ["10.0.0.7:80"]}
    told = text(report=REPORT | {"backends": {"search": entry}})
    assert "search  http  127.0.0.1:8081  paused\n" in told
    assert "  set       1,200        upstream.max_connections, 8 in the file\n" in told
    assert "  server    10.0.0.7:80  drained\n" in told


def test_a_narrow_terminal_loses_no_word() -> None:
    words = sorted(text(width=80).replace("\n", " ").split())
    assert words == sorted(EXPECTED.split())


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (0.4, "0s"),
        (9, "9s"),
        (312, "5m 12s"),
        (3600, "1h 0m"),
        (3725, "1h 2m"),
        (3 * 86400 + 5 * 3600, "3d 5h"),
    ],
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, age: str) -> None:
    assert format_age(seconds) == age


def test_a_percentile_is_the_bound_that_so_many_do_not_exceed() -> None:
    bounds, counts = [0.001, 0.01, 60.0], [90, 9, 0, 1]
    assert percentile(bounds, counts, 0.5) == "<= 1ms"
    assert percentile(bounds, counts, 0.99) == "<= 10ms"
    assert percentile(bounds, counts, 1.0) == "> 1m 0s"


def test_who_may_be_anybody_is_said_aloud() -> None:
    side = {"verified": False, "handshakes": 1200, "resumed": 7, "failed": 2, "error": "key_file: none"}
    tls = {"upstream": side | {"days": {"upstream": 90.5, "server": 3.2}}, "clients": side | {"days": {}}}
    report = {**REPORT, "backends": {"web": {**next(iter(REPORT["backends"].values())), "tls": tls}}}
    told = text(200, report)
    assert "NOT VERIFIED  handshakes 1,200, resumed 7, failed 2, own certificate 90 days" in told
    assert "certificate of a server 3 days, key_file: none" in told
    assert re.search(r"TLS +clients +clients not asked", told)
    fine = {"upstream": {**side, "verified": True, "failed": 0, "error": "", "days": {}}}
    assert "verified  handshakes" in text(
        200, {**report, "backends": {"web": {"upstream_max": 1, "tls": fine}}}
    )
