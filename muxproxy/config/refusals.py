"""Redis commands that are refused unless `[redis] allow` names them, and those that it may not name.

Here and not in protocols/redis/: configuration must be checked without a protocol, and the table of commands
takes its answers from here. Names are lower case, `container|sub` for a subcommand.
"""

from __future__ import annotations

# -> why, the end of a sentence that begins with the command's name. They change what a connection is, and
# through a shared one that is everybody's connection, or they need one that nobody else may have for good.
NEVER = {
    "client|capa": "changes its connection, and connections are shared",
    "client|import-source": "changes its connection, and connections are shared",
    "client|tracking": "sends invalidations to its connection, and connections are shared",
    "cluster|syncslots": "turns its connection into a replication link",
    "monitor": "shows the commands of every client, and keeps its connection",
    "psync": "turns its connection into a replication link",
    "replconf": "turns its connection into a replication link",
    "script|debug": "turns its connection into a debugger's",
    "sync": "turns its connection into a replication link",
}

# They work, and one client can end the service for all with them.
BY_DEFAULT = {
    "debug": "can stop or crash the server for every client",
    "shutdown": "stops the server for every client",
}


def why_refused(name: str, allow: frozenset[str], deny: frozenset[str]) -> str:
    """Why `name` is refused, "" if it is not. A subcommand's own entry goes before its container's."""
    if name in NEVER:
        return NEVER[name]
    container = name.partition("|")[0]
    for spelling in (name, container):
        if spelling in deny:
            return "is denied by [redis] deny"
        if spelling in allow:
            return ""
    return BY_DEFAULT.get(container, "")


def has_effect(name: str, deny: frozenset[str]) -> bool:
    """Allowing `name` changes something."""
    return bool(why_refused(name, frozenset(), deny))
