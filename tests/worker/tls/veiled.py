"""The fakes' wire with TLS inside of it: what the heart and its peers say to each other goes through the
hands' own TlsWire and an OpenSSL at the far end, in records of any size that come in pieces cut anywhere.
Where we end, the far end hears it announced; where it ends, we do, or (`cuts`) see a FIN and nothing else.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, cast
from weakref import WeakKeyDictionary

from muxproxy.mux.base.client import Client
from muxproxy.worker.tls.wire import TlsWire
from tests.certificates import client_context, server_context
from tests.fakes import REQUEST_HIGH_WATER, FakeWorld, RecordingWire


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return server_context(), client_context()


class Veiled(TlsWire):
    """Of either side: the far end is the other."""

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return contexts()[0].wrap_bio(incoming, outgoing, server_side=True)

    def on_cut(self) -> bool:
        return cast(VeiledWire, self._hands).cut_received()


class Socket:
    """uvloop's transport, of which the fake wire is the other half."""

    def __init__(self, wire: VeiledWire) -> None:
        self.wire = wire
        self.written = b""
        self.reading = True  # TlsWire is not behind with what has come

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def write_eof(self) -> None: ...

    def close(self) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self.wire.world.soon(self.wire._read_on)

    def abort(self) -> None:
        raise AssertionError("TLS itself found something wrong")

    def is_closing(self) -> bool:
        return self.wire.closing

    def get_write_buffer_size(self) -> int:
        return len(self.wire.buffer)


class Received(bytearray):
    """What the peer has taken: the plain text of it."""

    wire: VeiledWire

    def __iadd__(self, data: Any) -> Received:
        self.extend(self.wire.through(bytes(data)))
        return self


class Turns:
    """The loop, as TlsWire knows it."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def call_soon(self, call: Callable[[], None]) -> None:
        self._world.soon(call)


_WIRES: WeakKeyDictionary[FakeWorld, int] = WeakKeyDictionary()


class VeiledWire(RecordingWire):
    made = 0
    cuts = False

    def __init__(self, world: FakeWorld, high: int = REQUEST_HIGH_WATER) -> None:
        super().__init__(world, high)
        VeiledWire.made += 1
        number = _WIRES[world] = _WIRES.get(world, 0) + 1  # so that a play goes as it went before
        self._random = Random(number)
        self._pieces: deque[bytes] = deque()  # of records, on their way to us; b"": FIN
        self._untold = 0  # plain bytes in these
        self._socket = Socket(self)
        self.received = Received()
        self.received.wire = self
        self._tls = Veiled(cast(Any, Turns(world)), self)
        self._tls.connection_made(self._socket)
        self._there, self._back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._far = contexts()[1].wrap_bio(self._back, self._there, server_hostname="localhost")
        for _ in range(3):
            try:
                self._far.do_handshake()
            except ssl.SSLWantReadError:
                pass
            if self._there.pending:
                self._tls.data_received(self._there.read())
            self._take()
        assert self._tls.is_open

    # -- the hands, as TlsWire knows them

    def connection_made(self, transport: Any) -> None: ...

    def data_received(self, data: bytes) -> None:
        self._untold -= len(data)
        self.brain.on_data(data, self.world.now)

    def eof_received(self) -> bool:
        return self._ends("on_server_eof")

    def cut_received(self) -> bool:
        return self._ends("on_server_cut")

    def _ends(self, word: str) -> bool:
        brain = self.brain
        told = brain.on_eof if isinstance(brain, Client) else getattr(brain, word)
        if not told(self.world.now):
            self.close()  # behind what the peer has not taken yet
        return True

    # -- from us

    def through(self, data: bytes) -> bytes:
        self._tls.write(data)
        self._tls._flush()  # what is said while something is told waits for its end, and the peer does not
        self._take()
        plain = b""
        while len(plain) < len(data):
            plain += self._far.read(65536)
        assert plain == data
        return plain

    def _take(self) -> None:
        self._back.write(self._socket.written)
        self._socket.written = b""

    def write_eof(self) -> None:
        super().write_eof()
        if not self.buffer:
            self._announce(self._tls.write_eof)

    def _lose(self, error: str = "") -> None:
        if not self.aborted:
            self._announce(self._tls.close)
        super()._lose(error)

    def take(self, size: int | None = None) -> None:
        super().take(size)
        if self.eof and not self.buffer and not self.aborted:
            self._announce(self._tls.write_eof)

    def _announce(self, ends: Callable[[], None]) -> None:
        """The far end hears it, with nothing missing before it."""
        ends()
        self._take()
        try:
            assert self._far.read(1) == b""
        except ssl.SSLZeroReturnError:
            pass

    # -- to us

    def _veil(self, data: bytes) -> None:
        size = self._random.choice((1, 50, 16 * 1024)) if len(data) < 1000 else 16 * 1024
        for at in range(0, len(data), size):
            self._far.write(data[at : at + size])
        self._untold += len(data)
        if not data and not (self.cuts and self._random.random() < 0.3):
            try:
                self._far.unwrap()
            except ssl.SSLError:
                pass  # we have not ended yet
        records = self._there.read()
        while records:
            size = self._random.choice((1, 5, 100, 5000, 256 * 1024))  # the last is what uvloop reads at once
            self._pieces.append(records[:size])
            records = records[size:]
        if not data:
            self._pieces.append(b"")

    def pause_reading(self) -> None:
        super().pause_reading()
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        super().resume_reading()
        self._tls.resume_reading()

    def _read_on(self) -> None:
        while (self._pieces or self._inbox) and self.reading and self._socket.reading and not self.closing:
            if not self._pieces:
                self._veil(self._inbox.popleft())
            piece = self._pieces.popleft()
            if piece:
                self._tls.data_received(piece)
            else:
                self._tls.eof_received()

    def break_off(self, error: str = "") -> None:
        """What has come is read before the end, be it half told."""
        rest = b"".join(self._tls._rest())
        for piece in self._pieces:
            self._tls._keep(piece)
            rest += b"".join(self._tls._rest())
        self._pieces.clear()
        if rest:
            self._inbox.appendleft(rest)
        super().break_off(error)

    def unread(self) -> int:
        return super().unread() + (self._untold > 0)

    def unread_bytes(self) -> int:
        return super().unread_bytes() + self._untold
