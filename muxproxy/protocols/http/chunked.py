"""The chunked transfer coding (RFC 9112 section 7.1): where a body ends, looking at nothing but its framing.

Data is skipped by its size, never searched. Only complete lines of framing are passed on: a size or a trailer
that has come in part is kept back, so that nothing malformed ever leaves, not even its beginning.
"""

from __future__ import annotations

from typing import Final

from muxproxy.protocols.contract import LINES
from muxproxy.protocols.http.common import MalformedError
from muxproxy.protocols.http.fields import check_trailers
from muxproxy.protocols.http.grammar import CHUNK, LAX_CHUNK, MAX_CHUNK_LINE, MAX_EXTENSIONS

_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4


class Chunked:
    """One chunked body. Feed it through `take`; `done` once its last byte is in."""

    __slots__ = (
        "_extensions",
        "_left",
        "_match",
        "_max_trailers",
        "_searched",
        "_state",
        "is_over",
        "kept",
        "spans",
    )

    def __init__(self, max_trailers: int, *, strip: bool = False, lax: bool = False) -> None:
        self.kept = b""  # an incomplete line; the next data goes behind it
        self.is_over = False  # the last scan has done as much as one may (P10): go on where it stopped
        self.spans: list[bytes] | None = [] if strip else None  # `strip`: the data without its framing
        self._match = LAX_CHUNK.match if lax else CHUNK.match
        self._state = _SIZE
        self._left = 0  # of the chunk's data
        self._extensions = 0
        self._searched = 0  # bytes of kept trailers that hold no end
        self._max_trailers = max_trailers

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def scan(self, data: bytes, start: int) -> int:
        """The offset behind what may be passed on of data[start:], which begins with `kept`."""
        pos, size = start, len(data)
        lines = LINES
        while pos < size and lines:
            state = self._state
            if state == _DATA:
                end = pos + self._left
                if self.spans is not None:
                    self.spans.append(data[pos:end])
                if end > size:
                    self._left = end - size
                    pos = size
                    break
                pos = end
                self._state = _DATA_END
            elif state == _SIZE:
                lines -= 1
                match = self._match(data, pos, pos + MAX_CHUNK_LINE)
                if match is None:
                    self._check_partial(data, pos)
                    break
                pos = match.end()
                self._extensions += match.end(2) - match.start(2)
                if self._extensions > MAX_EXTENSIONS:
                    raise MalformedError(f"more than {MAX_EXTENSIONS} bytes of chunk extensions")
                self._left = int(match.group(1) or b"0", 16)
                self._state = _DATA if self._left else _TRAILERS
            elif state == _DATA_END:
                if not data.startswith(b"\r\n", pos):
                    if data[pos:] == b"\r":
                        break
                    raise MalformedError("a chunk is longer than its size")
                pos += 2
                self._state = _SIZE
            elif state == _TRAILERS:
                end = self._trailers_end(data, pos)
                if end < 0:
                    break
                pos = end
                self._state = _DONE
            else:
                break
        self.is_over = not lines and pos < size and self._state != _DONE
        self.kept = b"" if pos == size or self.is_over or self._state == _DONE else data[pos:]
        return pos

    def _check_partial(self, data: bytes, pos: int) -> None:
        """The line at `pos` is not a chunk's: is it only not all there yet?"""
        if len(data) - pos >= MAX_CHUNK_LINE or data.find(b"\n", pos) >= 0:
            raise MalformedError("bad chunk size or extension")

    def _trailers_end(self, data: bytes, pos: int) -> int:
        if data.startswith(b"\r\n", pos):
            return pos + 2
        end = data.find(b"\r\n\r\n", pos + max(0, self._searched - 3))
        length = (end + 4 if end >= 0 else len(data)) - pos
        if length > self._max_trailers:
            raise MalformedError(f"trailers of more than {self._max_trailers} bytes", 431)
        if end < 0:
            self._searched = length
            return -1
        check_trailers(data[pos : end + 4])
        return end + 4
