"""The fakes' wire with TLS inside of it: what the heart and its peers say to each other goes through the
hands' own TlsWire and an OpenSSL at the far end, in records that come in pieces cut anywhere.
"""

from __future__ import annotations

import ssl
from collections import deque
from functools import cache
from random import Random
from typing import Any

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


class Socket:
    """uvloop's transport, of which the fake wire is the other half."""

    def __init__(self, wire: VeiledWire) -> None:
        self.wire = wire
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def close(self) -> None:
        self.wire.close()

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


class VeiledWire(RecordingWire):
    made = 0

    def __init__(self, world: FakeWorld, high: int = REQUEST_HIGH_WATER) -> None:
        super().__init__(world, high)
        VeiledWire.made += 1
        self._random = Random(VeiledWire.made)
        self._pieces: deque[bytes] = deque()  # of records, on their way to us
        self._untold = 0  # plain bytes in these
        self._socket = Socket(self)
        self.received = Received()
        self.received.wire = self
        self._tls = Veiled(None, self)
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
        brain = self.brain
        told = brain.on_eof if isinstance(brain, Client) else brain.on_server_eof
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

    # -- to us

    def _veil(self, data: bytes) -> None:
        if data:
            self._far.write(data)
            self._untold += len(data)
        else:
            try:
                self._far.unwrap()
            except ssl.SSLError:
                pass  # we have not ended yet
        records = self._there.read()
        while records:
            size = self._random.choice((1, 5, 100, 5000, 256 * 1024))  # the last is what uvloop reads at once
            self._pieces.append(records[:size])
            records = records[size:]

    def _read_on(self) -> None:
        while (self._pieces or self._inbox) and self.reading and not self.closing:
            if not self._pieces:
                self._veil(self._inbox.popleft())
            self._tls.data_received(self._pieces.popleft())

    def break_off(self, error: str = "") -> None:
        """What has come is read before the end, be it half told."""
        rest = b""
        while self._pieces:
            self._tls._keep(self._pieces.popleft())
            rest += self._tls._decrypt()
        if rest:
            self._inbox.appendleft(rest)
        super().break_off(error)

    def unread_bytes(self) -> int:
        return super().unread_bytes() + self._untold
