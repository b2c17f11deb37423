"""Server bytes to reply frames, as in the folder above, but that a proxy says in each head that it was here.

Via is added, to interim replies too (RFC 9110 section 7.6.3), and what a server says to a proxy ends here:
Proxy-Authenticate and its like, which would make a client send us, or the next server, a password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from muxproxy.protocols.contract import FIRST, INTERIM, SWITCH, Frame
from muxproxy.protocols.http import replies
from muxproxy.protocols.http.common import OPENS
from muxproxy.protocols.http.forward.heads import Ways
from muxproxy.protocols.http.replies import _HEAD, _OPAQUE

# RFC 9110 section 9.3.6: neither Content-Length nor Transfer-Encoding. Its words are everybody's.
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PROXY: Final = re.compile(rb"\r\n[Pp][Rr][Oo][Xx][Yy]-[^\r]*+")


class ForwardReplies(replies.ReplyFramer):
    __slots__ = ("_is_old", "_opens", "_ways")

    def __init__(self, ways: Ways) -> None:
        super().__init__(ways.settings)
        self._ways = ways
        self._opens = False  # a tunnel
        self._is_old = False  # the server speaks HTTP/1.0

    def expect(self, note: Any) -> None:
        self._opens = bool(note & OPENS)
        super().expect(note & ~OPENS)

    def feed(self, data: bytes) -> Sequence[Frame]:
        if self._opens:
            return self._open(data)
        if self._state == _OPAQUE:
            return super().feed(data)
        if self._state == _HEAD and data:
            self._is_old = data.startswith(b"HTTP/1.0")
        frames = super().feed(data)
        for index, frame in enumerate(frames):
            if frame.marks & (FIRST | INTERIM) and frame.data:
                if not index and len(frames) == 1:
                    return (self._marked(frame),)
                return [self._marked(each) for each in frames]
        return frames

    def _open(self, data: bytes) -> Sequence[Frame]:
        self._opens = False
        self._state = _OPAQUE
        opened = Frame(ESTABLISHED, FIRST | SWITCH)
        return (opened, Frame(data, 0)) if data else (opened,)

    def _marked(self, frame: Frame) -> Frame:
        """With Via, if it has a head."""
        if not frame.marks & (FIRST | INTERIM) or not frame.data:
            return frame
        data = frame.data
        end = data.find(b"\r\n\r\n") + 2
        head = data[:end]
        if _PROXY.search(head) is not None:
            head = _PROXY.sub(b"", head)
        via = self._ways.via_old if self._is_old else self._ways.via
        return Frame(b"".join((head, via, data[end:])), frame.marks, frame.note)
