"""Commands and their kinds.

A `Command` is what the table says of one command, one object for all its requests; it is the note of nearly
every frame. What needs more than a look at it (a transaction, HELLO, a muted reply ...) has a `Note` instead.
"""

from __future__ import annotations

from typing import Final

from muxproxy.protocols.contract import ANYWHERE, IDEMPOTENT

# Kinds of commands: what the session has to do about one. SHARED: nothing, and that is nearly all of them.
SHARED: Final = 0  # touches no state of its connection
# has subcommands that differ: Table.find_sub tells (CLIENT; CONFIG where a list says so)
CONTAINER: Final = 1
BLOCKING: Final = 2  # may block, its arguments say whether and how long (`Command.block`)
MULTI: Final = 3
EXEC: Final = 4
DISCARD: Final = 5
WATCH: Final = 6
UNWATCH: Final = 7
AUTH: Final = 8
HELLO: Final = 9
SELECT: Final = 10
REPLICA: Final = 11  # READONLY, READWRITE
PING: Final = 12  # as others, but in the subscribed mode of RESP2 it is answered otherwise
QUIT: Final = 13
RESET: Final = 14
LISTEN: Final = 15  # (P|S)SUBSCRIBE, (P|S)UNSUBSCRIBE
REFUSED: Final = 16  # [redis] deny, or what cannot be kept through a proxy; `Command.why`
UNKNOWN: Final = 17  # not in the table: the server is asked
WHOLE: Final = 18  # no Command's, but a Note's: a transaction from MULTI to EXEC in one frame
ASKING: Final = 20  # is about the next command of its connection, before which it is said (a cluster's ASK)
ALONE: Final = 19  # ends what a server waits for: behind another command on its connection it would wait too

# A command behind one of these is not framed before it is answered.
BARRIERS: Final = frozenset((AUTH, HELLO, SELECT, REPLICA, ASKING, RESET, QUIT))

# CLIENT's subcommands about the client's own connection, which is everybody's, so that only the session can
# answer them -> words of the whole command.
CLIENTS_OWN: Final = {
    "client|setname": 3,
    "client|getname": 2,
    "client|id": 2,
    "client|setinfo": 4,
    "client|reply": 3,
    "client|no-evict": 3,
    "client|no-touch": 3,
}


class Command:
    """`name`: lower case, `container|sub` for a subcommand. `marks`: of its frames beside FIRST and LAST."""

    __slots__ = ("block", "kind", "marks", "name", "subcommands", "why")

    def __init__(
        self,
        name: str,
        kind: int = SHARED,
        *,
        is_readonly: bool = False,
        is_anywhere: bool = False,
        block: str = "",
        subcommands: dict[bytes, Command] | None = None,
        why: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.marks = (IDEMPOTENT if is_readonly else 0) | (ANYWHERE if is_anywhere else 0)  # P9
        # BLOCKING: where its timeout stands: "last:s", "last:ms", "first:s", "BLOCK:ms" (after that word;
        # absent: it does not block), "" not known: it may block for ever
        self.block = block
        self.subcommands = subcommands  # CONTAINER: by upper case name
        self.why = why  # REFUSED: the rest of the sentence, for its error

    def __repr__(self) -> str:
        return f"<Command {self.name}>"
