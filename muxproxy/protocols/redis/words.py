"""Replies that a session gives without a server, in Redis 7's own words, for client libraries look at them.

Seen on redis-server 7.0.15. What is muxproxy's own opinion is in refusal.py.
"""

from __future__ import annotations

OK = b"+OK\r\n"
SYNTAX = b"-ERR syntax error\r\n"
NOAUTH = b"-NOAUTH Authentication required.\r\n"
HELLO_NOAUTH = (  # 7.2 has a <proto> in the middle
    b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
    b"<pass> option can be used to authenticate the client and select the RESP protocol version at the same "
    b"time\r\n"
)
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NO_PASSWORD = (
    b"-ERR AUTH <password> called without any password configured for the default user. Are you sure your "
    b"configuration is correct?\r\n"
)
NOPROTO = b"-NOPROTO unsupported protocol version\r\n"
BAD_PROTO = b"-ERR Protocol version is not an integer or out of range\r\n"
BAD_NAME = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
BAD_DB = b"-ERR value is not an integer or out of range\r\n"
DB_RANGE = b"-ERR DB index is out of range\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


def bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def null(resp: int) -> bytes:
    return b"_\r\n" if resp == 3 else b"$-1\r\n"


def error(text: str) -> bytes:
    """`text`: with its code. One line, whatever the text (a client's own words may be in it)."""
    return b"-" + " ".join(text.split()).encode("utf-8", "replace") + b"\r\n"


def arity(name: str) -> bytes:
    return error(f"ERR wrong number of arguments for '{name}' command")


def not_here(name: str) -> bytes:
    """What RESP2 says to a client that listens."""
    return error(
        f"ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
        "allowed in this context"
    )


def rejected(name: str, reply: bytes) -> bytes:
    """`reply`, an error before execution; Redis' rejectCommand() says it of EXEC in other words."""
    if name != "exec":
        return reply
    # an ERR loses its code there, others keep it: the C code drops one '-', and ERR was never written
    text = reply[1:].removeprefix(b"ERR ")
    return b"-EXECABORT Transaction discarded because of: " + text


def ours(text: str) -> bytes:
    """An error of muxproxy's own: what it says no to, and what to do."""
    return error(f"ERR muxproxy: {text}")
