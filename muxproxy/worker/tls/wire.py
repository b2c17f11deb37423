"""A connection that speaks TLS: uvloop's plain transport on one side, the hands of a connection on the other.

    handshaking --> open --> its peer has ended (close_notify) --> closed
                       '--> we have ended (write_eof) ---------------^

To the hands it is the transport: same names, same order of events. To uvloop it is the protocol. What has
come in one read is decrypted at once and told in one piece, what is written meanwhile goes out in one piece
behind it, and everything else at once (DESIGN, the hot path).

A FIN that no close_notify has announced may be anybody's: what it ends may have been cut (RFC 8446 section
6.1). What that means is for the hands' brain to say; most servers end like that when nothing is owed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

from muxproxy.mux.ports import SAID_BY_TLS
from muxproxy.worker.remains import Keeper, unread
from muxproxy.worker.tls.words import CUT, TlsError, described

_RECORD: Final = 16 * 1024  # the most that one holds (RFC 8446 section 5.1), and so what one read gives
_HEADER: Final = 5  # type, version, length
_LONGEST: Final = _RECORD + 2048  # as sent (RFC 5246 section 6.2.3); of TLS 1.3 it is less
# That are read in one turn of the loop: twice what one read brings, unless somebody sends them by the byte,
# or such as hold nothing and cost us much (a key update: 15 to 30 us, where OpenSSL alone would take all of
# those that have come, ten thousand, at once) (P10).
_RECORDS: Final = 32
# Bytes that OpenSSL is given at a time, and that are taken from it: a BIO keeps for ever what it has needed
# once. With all of a read (256 KiB) at a time that was 700 KiB of each idle connection (P7).
_STEP: Final = 16 * 1024
_CORK: Final = 64 * 1024  # of what is written while data is told, more goes out before that ends
# Answers to what a peer may ask of the record layer at no cost (key updates), that it has not taken.
_UNASKED: Final = 64 * 1024


class Hands(Protocol):
    """Of a connection, client.py's and upstream.py's: an asyncio.Protocol but for the name."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class TlsWire(asyncio.Transport, Keeper):
    """A mux.ports.Wire, and what the hands ask of a transport besides."""

    __slots__ = (
        "_behind",
        "_closing",
        "_corked",
        "_cut",
        "_ended",
        "_error",
        "_fed",
        "_hands",
        "_incoming",
        "_loop",
        "_missing",
        "_out",
        "_out_size",
        "_outgoing",
        "_paused",
        "_said_end",
        "_tls",
        "_transport",
        "_unasked",
        "_unfed",
        "is_open",
    )
    peer = ""  # what it is called in errors

    def __init__(self, loop: asyncio.AbstractEventLoop, hands: Hands) -> None:
        super().__init__()
        self._loop = loop
        self._hands = hands
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unfed = b""  # has come, and OpenSSL has not seen it: from `_fed` on
        self._fed = 0
        self._missing = 0  # bytes of the record that it has seen the beginning of
        self._out: list[bytes] = []  # has been taken from it, and goes out before what it still has
        self._out_size = 0
        self._tls: ssl.SSLObject = self.begin(self._incoming, self._outgoing)
        self._transport: asyncio.Transport | None = None  # before it is connected, and once it is closed
        self.is_open = False  # the handshake is done, and the hands know it
        self._corked = False
        self._paused = False  # the hands do not read
        self._behind = False  # what has come is told on in the next turn
        self._ended = False  # its peer has said that it sends no more
        self._cut = False  # its peer's FIN has come, behind what is still to be told
        self._said_end = False  # we have
        self._closing = False
        self._error = ""  # what ended it, where that was TLS's
        self._unasked = 0

    # -- to be supplied ------------------------------------------------------------------------------

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        raise NotImplementedError

    def on_open(self) -> None:
        """The hands are told next."""

    def on_failed(self, error: str) -> None:
        """The socket is about to be closed, and the hands have never heard of it."""
        raise NotImplementedError

    def on_cut(self) -> bool:
        """FIN without a close_notify. True: keep our side open."""
        return self._hands.eof_received()

    # -- told by uvloop --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._closing:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._ended:
            return  # behind its close_notify comes nothing that means anything
        self._keep(data)
        if self.is_open:
            self._read()
        else:
            self.shake()

    def _keep(self, data: bytes) -> None:
        self._unfed = self._unfed[self._fed :] + data if self._unfed else data
        self._fed = 0

    def eof_received(self) -> bool:
        """It stays open until we close it, and hears nothing more."""
        if not self.is_open:
            self._error = self._error or CUT
            self.abort()
        elif self._has_more():
            self._cut = True
        elif not self._ended and not self._closing:
            self._on_end(self.on_cut)
        return True

    def _on_end(self, tell: Callable[[], bool]) -> None:
        self._ended = True
        self._unfed, self._fed = b"", 0
        if not tell():
            self.close()

    def pause_writing(self) -> None:
        if self.is_open:
            self._hands.pause_writing()

    def resume_writing(self) -> None:
        if self.is_open:
            self._hands.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if not self.is_open:
            told = exc.strerror if isinstance(exc, OSError) else None
            self.on_failed(self._error or (f"{SAID_BY_TLS}{told} in the handshake" if told else CUT))
            self._transport = None
            return
        self._hands.connection_lost(TlsError(self._error) if self._error else exc)
        self._transport = None

    def unread(self) -> Iterator[bytes]:
        """What the kernel has of a connection that has broken, of what the hands were not told."""
        if self._transport is None:
            return
        yield from self._rest()
        for data in unread(self._transport):
            if self._error or self._ended or self._has_more():
                return
            self._keep(data)
            yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        """Up to where a whole turn's records hold nothing: that is nobody's last word."""
        while self._has_more() and not (self._error or self._ended):
            plain = self._decrypt()
            if not plain:
                return
            yield plain

    # -- the handshake -----------------------------------------------------------------------------------

    def shake(self) -> None:
        """As far as it goes with what has come."""
        try:
            is_done = self._shakes()
        except ssl.SSLError as error:
            self._fail(error)
            return
        if not is_done:
            self._flush()
            if self._has_more():
                self.shake_later()
            return
        self.is_open = True
        self._corked = True  # what is said at once goes out with the handshake's last record
        try:
            self.on_open()
            self._hands.connection_made(self)
        finally:
            self._corked = False
        self._flush()
        if self._has_more() and not self._paused and not self._closing:
            self._read()

    def _shakes(self) -> bool:
        """A record at a time, so that nothing of what comes behind it is fed already when it is done."""
        for _ in range(_RECORDS):
            self._feed(1)
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._has_more():
                    return False
            else:
                return True
        return False

    def shake_later(self) -> None:
        self._read_later()

    def _fail(self, error: ssl.SSLError) -> None:
        """Its peer is told why, as far as OpenSSL has a word for it."""
        self._error = self._error or described(error, self.peer)
        self._flush()
        self.abort()

    # -- what comes --------------------------------------------------------------------------------------

    def _read(self) -> None:
        data = self._decrypt()
        if data:
            self._corked = True
            try:
                self._hands.data_received(data)
            finally:
                self._corked = False
        self._flush()
        if self._closing:
            return
        if self._error:
            self.abort()
        elif self._ended:
            self._on_end(self._hands.eof_received)
        elif self._has_more():
            self._read_later()
        elif self._cut:
            self._on_end(self.on_cut)

    def _has_more(self) -> bool:
        """That has come, and is more than the beginning of a header."""
        return len(self._unfed) - self._fed >= _HEADER

    def _decrypt(self) -> bytes:
        """All that is whole, of so many records. What ended it is said in `_ended` or `_error`."""
        parts: list[bytes] = []
        data = self._unfed
        if len(data) > _HEADER and self._is_one(data):
            self._unfed = b""
            self._incoming.write(data)
            self._read_records(1, parts)
        else:
            self._decrypt_some(parts)
        if self._outgoing.pending:  # nobody has written: it is an answer of OpenSSL's
            self._answer()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _is_one(self, data: bytes) -> bool:
        """Nothing but one record, as most of what comes."""
        size = data[3] << 8 | data[4]
        return len(data) - _HEADER == size <= _LONGEST and not self._missing and not self._fed

    def _decrypt_some(self, parts: list[bytes]) -> None:
        left = _RECORDS
        while self._unfed and left > 0:
            whole = self._feed(left)
            if not whole or not self._read_records(whole, parts):
                return
            left -= whole

    def _feed(self, most: int) -> int:
        """OpenSSL is given the next records, `most` of them or a step's worth. How many of them are whole: it
        is asked for each at once, because close() loses what it has been given before (SSL_shutdown(3))."""
        data, start = self._unfed, self._fed
        end, at = len(data), start + self._missing
        whole = int(self._missing > 0 and at <= end)
        while end - at >= _HEADER and whole < most and at - start < _STEP:
            size = _HEADER + (data[at + 3] << 8 | data[at + 4])
            if data[at + 1] != 3 or size > _HEADER + _LONGEST:  # no record, as OpenSSL will say
                size = end - at
            at += size
            whole += at <= end
        self._missing = max(0, at - end)
        at = min(at, end)
        if at > start:
            self._incoming.write(data if at - start == end else memoryview(data)[start:at])
        if at == end:
            self._unfed, self._fed = b"", 0
        else:
            self._fed = at
        return whole

    def _read_records(self, whole: int, parts: list[bytes]) -> bool:
        """False: nothing more comes."""
        try:
            for _ in range(whole):
                part = self._tls.read(_RECORD)
                if not part:
                    self._ended = True
                    return False
                parts.append(part)
        except ssl.SSLWantReadError:
            pass  # some of them held no data
        except ssl.SSLZeroReturnError:
            self._ended = True
            return False
        except ssl.SSLError as error:
            self._error = described(error, self.peer)
            return False
        return True

    def _answer(self) -> None:
        """A peer that asks and does not take the answers would have us keep them for ever (P7)."""
        transport = self._transport
        if transport is not None and not transport.get_write_buffer_size():
            self._unasked = 0
        self._unasked += self._outgoing.pending
        if self._unasked > _UNASKED:
            self._error = self._error or f"{SAID_BY_TLS}it asks for more than it takes"

    def _read_later(self) -> None:
        if not self._behind and self._transport is not None:
            self._behind = True
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._behind = False
        if self._closing or self._paused:
            return
        if not self.is_open:
            self.shake()
        elif not self._ended and (self._has_more() or self._cut):
            self._read()
        if not (self._behind or self._paused or self._closing) and self._transport is not None:
            self._transport.resume_reading()

    # -- mux.ports.Wire, and what else is asked of a transport ---------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._encrypt(data):
            return
        pending = self._outgoing.pending
        if not self._corked or self._out_size + pending > _CORK:
            self._flush()
        elif pending > _STEP:
            self._take_out()

    def write_last(self, data: bytes) -> None:
        """It goes out with the close_notify behind it, or in the next turn."""
        if self._encrypt(data):
            self._loop.call_soon(self._flush)

    def _encrypt(self, data: bytes | bytearray | memoryview) -> bool:
        if self._closing or self._said_end or not data:
            return False
        try:
            if len(data) <= _STEP:
                self._tls.write(data)
            else:
                rest = memoryview(data)
                for at in range(0, len(data), _STEP):
                    self._tls.write(rest[at : at + _STEP])
                    self._take_out()
        except ssl.SSLError as error:
            self._error = self._error or described(error, self.peer)
            self.abort()
            return False
        return True

    def _take_out(self) -> None:
        self._out_size += self._outgoing.pending
        self._out.append(self._outgoing.read())

    def _flush(self) -> None:
        if self._transport is None:
            return
        if self._out:
            if self._outgoing.pending:
                self._take_out()
            self._transport.writelines(self._out)
            self._out, self._out_size = [], 0
        elif self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def write_eof(self) -> None:
        """Both ends: a close_notify for who speaks TLS, and the FIN for who only looks at its socket."""
        if self._closing or self._said_end:
            return
        self._say_end()
        if self._transport is not None:
            self._transport.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def _say_end(self) -> None:
        if not self._said_end and self.is_open:
            self._said_end = True
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # its peer has not said so yet, or has broken off
        self._flush()

    def close(self) -> None:
        if self._closing:
            return
        self._say_end()
        self._closing = True
        if self._transport is not None:
            if self.is_open:
                self._transport.close()
            else:
                self._transport.abort()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def is_closing(self) -> bool:
        return self._closing or self._transport is None or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None and not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._transport is not None and not self._closing:
            # It came with the end of the handshake, or is more than one turn's.
            if self._has_more() or self._cut:
                self._read_later()
            else:
                self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 0) if self._transport is None else self._transport.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        waiting = self._out_size + self._outgoing.pending
        return waiting if self._transport is None else waiting + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)
