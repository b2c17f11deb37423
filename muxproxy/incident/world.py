"""Where replays are played: namespaces of their own where that is permitted, and what the machine is."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from datetime import UTC, datetime

from muxproxy.native import installed
from muxproxy.stage.hosts import Host, Network, Unable, joined, loopback

MOST = 1_048_576  # fs.nr_open's usual value, where the limit is infinity
_USERS = "/proc/self/ns/user"
# An ordinary user's PATH may be without the last two, where nginx and ip are.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def look_for(program: str) -> str | None:
    return shutil.which(program, path=PATH)


class World:
    """`notes` has why there are no namespaces, where there are none."""

    def __init__(self, use_namespaces: bool = True) -> None:
        self.is_real = use_namespaces
        self.notes: list[str] = [] if use_namespaces else ["on loopback, as was asked for"]
        self.machine = machine()
        if use_namespaces:
            try:
                users = os.readlink(_USERS)
                joined(1, {}).__exit__()
                if os.readlink(_USERS) != users:
                    self.notes.append(
                        "played by an ordinary user, in network namespaces inside of a user namespace"
                    )
            except Unable as reason:
                self.is_real = False
                self.notes.append(f"on this machine's loopback: {reason}")

    def settings(self, wanted: dict[str, str]) -> dict[str, str]:
        """What will hold at the client's host: on loopback nothing is changed."""
        return wanted if self.is_real else {name: Host().setting(name) for name in wanted}

    def network(self, servers: int, settings: dict[str, str]) -> Network:
        return joined(servers, settings) if self.is_real else loopback(servers)


def descriptors() -> int:
    """How many a process may have."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if limit == resource.RLIM_INFINITY else limit


def machine() -> dict[str, str]:
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cpus": str(len(os.sched_getaffinity(0))),
        "descriptors": f"{descriptors():,} per process",
        "muxproxy": installed(),
        "python": platform.python_version(),
    }
