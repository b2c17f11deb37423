"""What somebody in trouble sees: the worst first, what to type, the evidence with its source."""

from __future__ import annotations

import click
import msgspec

from muxproxy.cli.doctor.view import MOST_FLOWS, render
from muxproxy.doctor.facts import Holder, Listener, Sight
from muxproxy.doctor.judging.fleet import Limit
from muxproxy.doctor.judging.judge import Question, judge
from tests.doctor.made import APP, facts, flow

ASKED = Question((1024, 20000))
SMALL = {"ip_local_port_range": "20000 21999", "tcp_tw_reuse": "0"}


def shown(told: object, asked: Question = ASKED) -> list[str]:
    lines = render(judge(told, asked))
    return [click.unstyle(line) for line in lines]


def test_a_healthy_machine_is_told_so_in_the_first_line() -> None:
    lines = shown(facts(flow(20, 8, opened=3.0), listeners=(Listener("0.0.0.0", 80, 2, 128),)))
    assert lines[:4] == [
        "Nothing is wrong.",
        "",
        "Outgoing: 28 sockets to 1 remote  [sock_diag: ss -tan]",
        "  10.0.0.5:6379  0.1 % of ports  TIME_WAIT 20, ESTABLISHED 8  3 connects/s  "
        "by python3 app.py (pid 4711, user app)",
    ]
    assert (
        "Incoming: 0 sockets, 1 listener, fullest queue 2 of 128 at 0.0.0.0:80  [sock_diag: ss -ltn]" in lines
    )
    assert not any(line.startswith("Not seen") for line in lines)


def test_what_is_wrong_is_one_line_then_one_to_type_then_where_it_was_seen() -> None:
    lines = shown(facts(flow(1992, 8, timed=30.0), **SMALL))
    assert lines[0] == "3 things wrong"
    assert lines[2].startswith(
        "WRONG  python3 app.py (pid 4711, user app) opened and closed 1,992 connections "
    )
    assert lines[3] == "  type  muxproxy doctor --suggest 10.0.0.5:6379"
    seen = "        10.0.0.1 to 10.0.0.5:6379: TIME_WAIT 1,992, ESTABLISHED 8  "
    assert lines[4] == f"{seen}[sock_diag: ss -tan dst 10.0.0.5:6379]"
    assert "  type  sysctl -w net.ipv4.tcp_tw_reuse=1" in lines
    assert "  tcp_tw_reuse = 0  see above" in lines


def test_each_remote_has_its_share_of_ports_and_the_time_that_is_left() -> None:
    going = flow(992, 8, timed=400.0, growth=200.0)
    assert "  10.0.0.5:6379  50 % of ports, none left in 5 s  TIME_WAIT 992, ESTABLISHED 8 " in "\n".join(
        shown(facts(going, **SMALL))
    )
    reused = shown(facts(flow(1900, 8, young=32, timed=30.0), **{**SMALL, "tcp_tw_reuse": "1"}))
    assert any(line.startswith("  10.0.0.5:6379  2.0 % of ports  TIME_WAIT 1,900, ") for line in reused)


def test_a_warning_alone_is_not_wrong() -> None:
    assert shown(facts(flow(2990, 10, timed=51.0)))[0] == "Nothing is wrong; 1 warning"


def test_the_names_of_programs_do_not_drive_the_terminal() -> None:
    evil = flow(1992, 8, holders=(msgspec.structs.replace(APP, name="a\x1b[2J\u202eb"),), timed=30.0)
    assert not any("\x1b" in line or "\u202e" in line for line in shown(facts(evil, **SMALL)))


def test_of_many_remotes_the_fullest_are_shown_and_the_rest_counted() -> None:
    lines = shown(facts(*(flow(number, 1, host=f"10.0.1.{number}") for number in range(20))))
    assert sum(line.startswith("  10.0.1.") for line in lines) == MOST_FLOWS
    assert "  10.0.1.19:6379 " in lines[3]
    assert "  and 12 more, all with fewer (--json has them)" in lines


def test_whose_process_may_not_be_seen_has_a_user_at_least() -> None:
    told = facts(flow(0, 5, holders=(), users={"app": 5}), flow(3, host="10.0.0.6", holders=()))
    lines = shown(told)
    assert lines[3].endswith("ESTABLISHED 5  by a process of user app")
    assert lines[4].endswith("TIME_WAIT 3")


def test_a_fleet_and_what_was_not_seen_stand_at_the_end() -> None:
    sight = Sight(is_root=False, hidden=1, unowned=2)
    told = facts(flow(0, 8, open_most=8, holders=(Holder(1, "a", "b"),)), sight=sight)
    lines = shown(told, Question((1, 1), None, 10, {"10.0.0.5:6379": Limit(1000, "--limit")}))
    assert lines[-4:] == [
        "Fleet  [every node may open its whole bound, to one of several servers]",
        "  10.0.0.5:6379: 10 nodes x 8 = 80 connections of 1,000 that the server takes (8.0 %)  "
        "[no bound; the most that was open here: ss -tan dst 10.0.0.5:6379; --limit]",
        "Not seen  [what is missing above, and what would show it]",
        "  1 process of other users, whose /proc/PID/fd is theirs alone: "
        "root would name the processes of 2 sockets more: sudo muxproxy doctor",
    ]
