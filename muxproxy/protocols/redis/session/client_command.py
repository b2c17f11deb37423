"""CLIENT's subcommands about the client's own connection, which it shares: a session answers them itself.

As Redis 7.2 does, whatever the server: SETINFO and NO-TOUCH are newer than 7.0, and nobody is better off
with an error. NO-EVICT and NO-TOUCH do nothing: evicted would be muxproxy's connection, which only the
server's operator can prevent, and reads through it touch what they read.
"""

from __future__ import annotations

from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.session.login import is_name
from muxproxy.protocols.redis.session.memory import Memory

_INFO = (b"LIB-NAME", b"LIB-VER")


def answer(session: Memory, name: str, words: list[bytes]) -> bytes:
    """The reply to `words`, as many as CLIENTS_OWN says. CLIENT REPLY is the session's own."""
    if name == "client|setname":
        if not is_name(words[2]):
            return say.BAD_NAME
        session.name = words[2]
        return say.OK
    if name == "client|getname":
        return say.bulk(session.name) if session.name else say.null(session.state.resp)
    if name == "client|id":
        return b":%d\r\n" % session.client_id
    if name == "client|setinfo":
        option = words[2].decode("latin-1")
        if words[2].upper() not in _INFO:
            return say.error(f"ERR Unrecognized option '{option}'")
        if not is_name(words[3]):
            return say.error(f"ERR {option} cannot contain spaces, newlines or special characters.")
        return say.OK
    return say.OK if words[2].upper() in (b"ON", b"OFF") else say.SYNTAX
