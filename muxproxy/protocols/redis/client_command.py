"""CLIENT's subcommands about the client's own connection, which it shares: a session answers them itself.

As Redis 7.2 does, whatever the server: SETINFO and NO-TOUCH are newer than 7.0, and nobody is better off
with an error. NO-EVICT and NO-TOUCH do nothing: evicted would be muxproxy's connection, which only the
server's operator can prevent, and reads through it touch what they read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy.protocols.redis import words as say
from muxproxy.protocols.redis.login import is_name

if TYPE_CHECKING:
    from muxproxy.protocols.redis.session import RedisSession

# name -> words of the whole command. CLIENT REPLY is the session's own.
LENGTHS = {
    "client|setname": 3,
    "client|getname": 2,
    "client|id": 2,
    "client|setinfo": 4,
    "client|reply": 3,
    "client|no-evict": 3,
    "client|no-touch": 3,
}
_INFO = (b"LIB-NAME", b"LIB-VER")


def answer(session: RedisSession, name: str, words: list[bytes]) -> bytes:
    """The reply to `words`, of the length that LENGTHS says."""
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
