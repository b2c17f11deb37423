"""Who it is, in words."""

from __future__ import annotations

import msgspec
import pytest

from muxproxy.doctor.facts import Holder
from muxproxy.doctor.judging.words import hands, is_muxproxy, listed, who
from tests.doctor.made import APP, flow


def test_the_culprit_is_a_process_else_a_user_else_nobody_who_was_seen() -> None:
    other = Holder(12, "cron", "root", 1)
    assert who(flow()) == "python3 app.py (pid 4711, user app)"
    assert who(flow(holders=(APP, other))) == "python3 app.py (pid 4711, user app) and 1 other process"
    assert who(flow(holders=(), users={"app": 8})) == "a process of user app"
    assert who(flow(holders=())) == "a process that was not seen"
    assert who(flow(holders=(Holder(9, "", ""),))) == "a process that has ended (pid 9, user ?)"


def test_a_guess_is_said_to_be_one_with_its_reason() -> None:
    guess = flow(holders=(msgspec.structs.replace(APP, guess="names 10.0.0.5 in its environment"),))
    assert who(guess) == "most likely python3 app.py (pid 4711, user app)"
    assert hands(guess)[0].text.endswith("(pid 4711, user app): names 10.0.0.5 in its environment")


def test_evidence_names_the_command_that_shows_it() -> None:
    assert (
        hands(flow())[0].text == "python3 app.py (pid 4711, user app): 8 sockets at a time, 5 new ones seen"
    )
    assert hands(flow())[0].source == "inodes of sock_diag in /proc/4711/fd: ss -tanp dst 10.0.0.5:6379"
    assert hands(flow(holders=(), users={"app": 8}))[0].text == "sockets of users: app 8"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("python3 muxproxy", True),
        ("python3 -m muxproxy", True),
        ("python3 -m muxproxy.worker", True),
        ("muxproxy", True),
        ("python3 -m muxproxy.incident.redis.client", False),
        ("python3 muxproxy-load.py", False),
        ("", False),
    ],
)
def test_muxproxy_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_muxproxy(Holder(1, name, "x")) == is_one


def test_a_long_list_is_cut() -> None:
    assert listed("abcdef") == "a, b, c, d and 2 more"
    assert listed("ab") == "a, b"
