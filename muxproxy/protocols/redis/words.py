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

# How servers begin to say no to what we ask ourselves (Redis 3 to 8, Valkey): the words that client libraries
# and people know it by, and none that depends on what was asked.
_PHRASES = (
    "ERR AUTH <password> called without any password configured for the default user.",
    "ERR Client sent AUTH, but no password is set",
    "ERR DB index is out of range",
    "ERR SELECT is not allowed in cluster mode",
    "ERR This instance has cluster support disabled",
    "ERR invalid DB index",
    "ERR invalid password",
    "ERR max number of clients reached",
    "ERR operation not permitted",
    "ERR unknown command",
    "ERR unknown subcommand",
    "ERR wrong number of arguments",
    # Whole, for whoever asked gets these as they are (connection.py); the longest first.
    *(
        f"BUSY {server} is busy running a {what}"
        for server in ("Redis", "Valkey")
        for what in (
            "script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
            "script.",
            "module command.",
        )
    ),
    "DENIED Redis is running in protected mode",
    "LOADING Redis is loading the dataset in memory",
    "LOADING Valkey is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH Authentication required.",
    "NOPROTO unsupported protocol version",
    "WRONGPASS invalid username-password pair or user is disabled.",
)
# Codes that SELECT, AUTH and their like can meet.
_CODES = {"BUSY", "CLUSTERDOWN", "DENIED", "ERR", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH"}
_CODES |= {"NOPERM", "NOPROTO", "OOM", "READONLY", "TRYAGAIN", "UNKILLABLE", "WRONGPASS", "WRONGTYPE"}
_KINDS = {
    b"+": "a simple string",
    b"$": "a bulk string",
    b":": "a number",
    b"*": "an array",
    b"%": "a map",
    b"_": "a null",
}


def of_server(reply: bytes) -> str:
    """What may be told to others of a server's answer to a question of ours: one of the words above.

    Its own text never is. Redis repeats what it does not understand, and with `rename-command AUTH ""` that
    is our password; what is no error at all may be somebody's reply."""
    if not reply.startswith(b"-"):
        return _KINDS.get(reply[:1], "another type of reply")
    text = reply[1:].partition(b"\r\n")[0].decode("latin-1")
    for phrase in _PHRASES:
        if text.startswith(phrase):
            return phrase
    code = text.partition(" ")[0]
    return code if code in _CODES else "an error that has no code"


# Not about what was asked but about when: the server can do less for now. Client libraries look for these.
_PASSING = {"BUSY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "OOM", "NOREPLICAS"}
_CODES |= _PASSING


def is_passing(reply: bytes) -> bool:
    """An error of the server's state, whatever was asked."""
    return reply.startswith(b"-") and is_passing_text(reply[1:20].decode("latin-1").partition("\r\n")[0])


def is_passing_text(text: str) -> bool:
    return text.partition(" ")[0] in _PASSING


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
