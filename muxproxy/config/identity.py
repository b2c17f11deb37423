"""Users and groups of muxproxy.toml: the numbers behind the names, and the groups that a user is in."""

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
    user = _user("user", node.user)
    gid = _group("group", node.group) if node.group else user.pw_gid
    return Identity(user.pw_uid, gid, sorted({*os.getgrouplist(node.user, user.pw_gid), gid} - {gid}))


def admin_owner(node: Node) -> tuple[int, int]:
    """Whose the admin socket is, user and group; -1: as who starts us. Raises UnknownNameError."""
    uid = _user("admin_owner", node.admin_owner).pw_uid if node.admin_owner else -1
    return uid, _group("admin_group", node.admin_group) if node.admin_group else -1


def _user(key: str, name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UnknownNameError(key, "this machine has no such user") from None


def _group(key: str, name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownNameError(key, "this machine has no such group") from None
