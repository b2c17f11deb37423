"""Refusals: error replies of our own, which say whether the command may have run (P8).

Their code is ERR, or OVERLOADED where the command was not sent and may be sent again later. Not BUSY, which
to client libraries is a state of the server, a script that runs too long: Lettuce, Redisson and Jedis have an
exception for it, and Lettuce and Redisson raise the same one for BUSYGROUP, so that applications catch it
around XGROUP CREATE and take it for "the group exists": an overload would be a success to them. Nor LOADING,
TRYAGAIN, MASTERDOWN, CLUSTERDOWN or `ERR max number of clients reached`: go-redis, redis-py and Redisson
retry on them at once, which is what a queue that is full needs least. OVERLOADED is nobody's (looked up in
the sources of redis-py, ioredis, node-redis, go-redis, Jedis, Lettuce and Redisson), a plain error reply.

But where the state that a command needs could not be brought about because of such a state of the server,
the server's own error is the reply, as it would have been without us.
"""

from __future__ import annotations

from typing import Any

from muxproxy.protocols.contract import END_CLIENT, FIRST, IDEMPOTENT, LAST, Frame, Reason
from muxproxy.protocols.redis.commands.command import WHOLE, Command
from muxproxy.protocols.redis.framing.note import Note, Run, Whole
from muxproxy.protocols.redis.session.login import Change
from muxproxy.protocols.redis.words import error, is_passing_text

# The command was not sent. DRAINING is not one of these: what is cut off at the end of a drain may have run.
OVERLOAD = frozenset(
    (
        Reason.QUEUE_FULL,
        Reason.CLIENTS_FULL,
        Reason.QUEUE_TIMEOUT,
        Reason.NO_SERVER,
        Reason.UNREAD,
        Reason.MEMORY,
    )
)
WRITTEN = frozenset((Reason.REPLY_TIMEOUT, Reason.SERVER_CLOSED, Reason.SERVER_BROKE, Reason.INTERNAL))
# A server's no to who its client is, or to how it speaks (connection.py): its password was changed, or its
# server replaced. No later command of it would fare better, so it is closed, to begin anew.
_VOID = ("AUTH was answered", "HELLO was answered")
_MULTI = b"+OK\r\n"
_QUEUED = b"+QUEUED\r\n"


def refusal(reason: Reason, text: str, note: Any, *, closing: bool, weight: int = 1) -> Frame:
    """`note`: a Command, a Note, or None before there was a request. `weight`: of a Run, the commands
    that have no reply yet."""
    refused = text.partition(" was answered with ")[2] if reason is Reason.STATE_REFUSED else ""
    is_passing = is_passing_text(refused)
    is_void = bool(refused) and not is_passing and any(words in text for words in _VOID)
    is_login = is_void and isinstance(note, Change) and note.command.name in ("auth", "hello")
    closing = closing or (is_void and not is_login)
    marks = FIRST | LAST | END_CLIENT if closing else FIRST | LAST
    if isinstance(note, Note):
        note.on_refused()
        if note.mute:
            return Frame(b"", marks)
    if is_login:  # what it asks for was tried before itself, and the no is to it: in the server's words
        return Frame(error(refused), marks)
    code = "OVERLOADED" if reason in OVERLOAD else "NOPERM" if reason is Reason.DENIED else "ERR"
    line = error(refused if is_passing else f"{code} muxproxy: {text}{_outcome(reason, note)}")
    if isinstance(note, Run):
        line *= weight
    return Frame(_for_transaction(note, line) if _is_transaction(note) else line, marks)


def _outcome(reason: Reason, note: Any) -> str:
    if reason not in WRITTEN or note is None:
        return ""
    command = note.command if isinstance(note, Note) else note
    if isinstance(command, Command) and command.marks & IDEMPOTENT:
        return "; the command changes nothing, whether it has run or not"
    return "; the command may have run"


def _is_transaction(note: Any) -> bool:
    return isinstance(note, Note) and note.kind == WHOLE and note.owed > 1


def _for_transaction(note: Note, line: bytes) -> bytes:
    """A transaction in one frame: each of its commands is owed a reply. The error stands where EXEC's is.
    Were it MULTI's, go-redis would leave the other replies to its connection's next user; were it the queued
    ones', clients would only say that something before was wrong."""
    skipped = isinstance(note, Whole)  # MULTI's own +OK is not the client's (CLIENT REPLY SKIP)
    return (b"" if skipped else _MULTI) + _QUEUED * (note.owed - 2 + skipped) + line
