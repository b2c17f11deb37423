"""`user` and `group` of muxproxy.toml: the numbers behind the names, and the groups that the user is in."""

from __future__ import annotations

import grp
import os
import pwd
from typing import NamedTuple

from muxproxy.config.model import Node


class Identity(NamedTuple):
    uid: int
    gid: int
    groups: list[int]  # beside gid


class UnknownNameError(ValueError):
    def __init__(self, key: str, rule: str) -> None:
        super().__init__(rule)
        self.key = key


def identity(node: Node) -> Identity | None:
    """As whom workers run; None: as who starts us. Raises UnknownNameError."""
    if not node.user:
        return None
    try:
        user = pwd.getpwnam(node.user)
    except KeyError:
        raise UnknownNameError("user", "this machine has no such user") from None
    gid = user.pw_gid
    if node.group:
        try:
            gid = grp.getgrnam(node.group).gr_gid
        except KeyError:
            raise UnknownNameError("group", "this machine has no such group") from None
    return Identity(user.pw_uid, gid, sorted({*os.getgrouplist(node.user, user.pw_gid), gid} - {gid}))
