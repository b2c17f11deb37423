"""Who `user` and `group` are, and whose the admin socket is."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from muxproxy.config.identity import Identity, UnknownNameError, admin_owner, identity
from muxproxy.config.load import examine
from muxproxy.config.model import Node
from tests.config.conftest import Write
from tests.config.test_load import LEAST


def test_without_a_user_workers_are_who_starts_them() -> None:
    assert identity(Node()) is None


def test_a_user_has_his_own_group_unless_another_is_named_and_never_ours() -> None:
    nobody = pwd.getpwnam("nobody")
    mine = [gid for gid in os.getgrouplist("nobody", nobody.pw_gid) if gid != nobody.pw_gid]
    assert identity(Node(user="nobody")) == Identity(nobody.pw_uid, nobody.pw_gid, mine)
    daemon = grp.getgrnam("daemon").gr_gid
    who = identity(Node(user="nobody", group="daemon"))
    assert who == Identity(nobody.pw_uid, daemon, sorted({nobody.pw_gid, *mine}))


def test_the_admin_socket_is_ours_unless_another_is_named() -> None:
    assert admin_owner(Node()) == (-1, -1)
    nobody, daemon = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid
    assert admin_owner(Node(admin_owner="nobody", admin_group="daemon")) == (nobody, daemon)
    assert admin_owner(Node(admin_group="daemon")) == (-1, daemon)


def test_who_does_not_exist_is_told_by_key() -> None:
    for node, key in ((Node(user="no-such"), "user"), (Node(user="nobody", group="no-such"), "group")):
        with pytest.raises(UnknownNameError) as caught:
            identity(node)
        assert caught.value.key == key


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('user = "no-such"', 'user = "no-such": this machine has no such user'),
        ('user = "nobody"\ngroup = "no-such"', 'group = "no-such": this machine has no such group'),
        ('group = "daemon"', 'group = "daemon": needs user'),
        ('admin_owner = "no-such"', 'admin_owner = "no-such": this machine has no such user'),
        ('admin_group = "no-such"', 'admin_group = "no-such": this machine has no such group'),
        ('admin_owner = "nobody"\nadmin_group = "daemon"', ""),
        ('user = "no body"', "user"),
        ("user = 0", "user = 0: a string in quotes"),
        ('user = "nobody"\ngroup = "daemon"', ""),
    ],
)
def test_it_is_a_problem_of_the_nodes_file(write: Write, text: str, problem: str) -> None:
    write("backends/a.toml", LEAST)
    path = write("muxproxy.toml", text)
    told = [str(each).removeprefix(f"{path}/muxproxy.toml: ") for each in examine(path).problems]
    assert len(told) == bool(problem)
    assert all(each.startswith(problem) for each in told)
