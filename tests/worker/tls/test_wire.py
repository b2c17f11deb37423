"""One connection, with OpenSSL at its far end and a transport that only records between them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from muxproxy.worker.tls.wire import TlsWire
from muxproxy.worker.tls.words import TlsError
from tests.certificates import client_context, server_context


class Transport(asyncio.Transport):
    """uvloop's, as the wire knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.kept = 0  # bytes that its socket does not take
        self.reading = True
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.kept


class Hands:
    def __init__(self) -> None:
        self.told: list[object] = []
        self.wire: TlsWire | None = None
        self.stays = False  # open after the far end's FIN
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_made: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")
        self.on_made()

    def data_received(self, data: bytes) -> None:
        self.told.append(data)
        self.on_data(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


class Loop:
    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_soon(self, call: Callable[..., None], *told: Any) -> None:
        self.calls.append((call, told))

    def turns(self) -> None:
        calls, self.calls = self.calls, []
        for call, told in calls:
            call(*told)


class Ours(TlsWire):
    """Of a server's kind, the far end being a client."""

    peer = "client"

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return server_context().wrap_bio(incoming, outgoing, server_side=True)

    def on_failed(self, error: str) -> None:
        self._hands.connection_lost(TlsError(error))


class Scene:
    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.loop, self.hands, self.transport = Loop(), Hands(), Transport()
        self.wire = Ours(self.loop, self.hands)
        context = client_context()
        context.maximum_version = version
        self.there, self.back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.far = context.wrap_bio(self.back, self.there, server_hostname="localhost")
        self.wire.connection_made(self.transport)
        self.seen = 0

    def shakes(self) -> None:
        for _ in range(4):
            try:
                self.far.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.brings()
            self.takes()

    def brings(self) -> None:
        """What the far end has written comes."""
        data = self.there.read()
        if data:
            self.wire.data_received(data)

    def says(self, data: bytes) -> None:
        self.far.write(data)
        self.brings()

    def takes(self) -> None:
        self.back.write(b"".join(self.transport.writes[self.seen :]))
        self.seen = len(self.transport.writes)

    def hears(self) -> bytes:
        """All that it can; b"" at the end."""
        self.takes()
        data = b""
        while True:
            try:
                part = self.far.read(65536)
            except ssl.SSLWantReadError:
                return data
            except ssl.SSLZeroReturnError:
                return data + b"<end>"
            if not part:
                return data + b"<end>"
            data += part


@pytest.fixture
def open_scene() -> Scene:
    scene = Scene()
    scene.shakes()
    assert scene.hands.told == ["made"]
    assert scene.wire.is_open
    return scene


def test_what_comes_in_one_read_is_told_in_one_piece(open_scene: Scene) -> None:
    scene = open_scene
    for part in (b"one ", b"two ", b"x" * 40000):
        scene.far.write(part)
    scene.brings()
    assert scene.hands.told == ["made", b"one two " + b"x" * 40000]
    scene.far.write(b"cut in pieces")
    for byte in scene.there.read():
        scene.wire.data_received(bytes([byte]))
    assert scene.hands.told[2:] == [b"cut in pieces"]


def test_who_sends_by_the_byte_is_read_in_several_turns_and_in_order(open_scene: Scene) -> None:
    """P10. Until all of it is told nothing more is read, and what is left when it breaks is told, too."""
    scene = open_scene
    for number in range(100):
        scene.far.write(bytes([number]))
    scene.far.write(b"x" * 40_000)
    scene.brings()
    assert scene.hands.told == ["made", bytes(range(32))]
    assert not scene.transport.reading
    scene.loop.turns()
    assert scene.hands.told[2:] == [bytes(range(32, 64))]
    scene.wire.pause_reading()
    scene.loop.turns()
    assert scene.hands.told[3:] == []
    scene.wire.resume_reading()
    assert not scene.transport.reading
    scene.loop.turns()
    assert b"".join(scene.wire.unread()) == bytes(range(96, 100)) + b"x" * 40_000
    assert scene.hands.told[3:] == [bytes(range(64, 96))]
    scene.loop.turns()
    assert scene.transport.reading


def test_what_is_written_meanwhile_goes_out_in_one_piece_and_else_at_once(open_scene: Scene) -> None:
    scene = open_scene
    before = len(scene.transport.writes)
    scene.hands.on_data = lambda data: [scene.wire.write(b"a"), scene.wire.write(b"b")]
    scene.says(b"ask")
    assert len(scene.transport.writes) == before + 1
    scene.wire.write(b"c")
    assert len(scene.transport.writes) == before + 2
    assert scene.hears() == b"abc"
    large = b"y" * 200_000  # more than is held back
    scene.hands.on_data = lambda data: [scene.wire.write(large), scene.wire.write(b"z")]
    scene.says(b"ask")
    assert scene.hears() == large + b"z"


def test_what_is_said_at_once_goes_out_with_the_end_of_the_handshake() -> None:
    scene = Scene()
    scene.hands.on_made = lambda: scene.wire.write(b"220 hello")
    scene.shakes()
    assert scene.hears() == b"220 hello"
    assert len(scene.transport.writes) == 2


def test_what_came_with_the_end_of_the_handshake_waits_for_who_does_not_read() -> None:
    for reads in (True, False):
        scene = Scene()
        scene.hands.on_made = lambda reads=reads, scene=scene: None if reads else scene.wire.pause_reading()
        with pytest.raises(ssl.SSLWantReadError):
            scene.far.do_handshake()
        scene.brings()
        scene.takes()
        scene.far.do_handshake()
        scene.says(b"at once")
        assert scene.hands.told == ["made", *([b"at once"] if reads else [])]
        assert scene.transport.reading is reads
        scene.wire.resume_reading()
        scene.loop.turns()
        assert scene.hands.told == ["made", b"at once"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_direction_ends_by_itself(version: ssl.TLSVersion) -> None:
    scene = Scene(version)
    scene.shakes()
    scene.hands.stays = True
    scene.far.write(b"that was all")
    with pytest.raises(ssl.SSLWantReadError):
        scene.far.unwrap()
    scene.brings()
    assert scene.hands.told == ["made", b"that was all", "eof"]
    assert scene.wire.eof_received() is True  # the FIN behind it says nothing new
    scene.wire.data_received(b"\x17\x03\x03")  # nor does anything
    assert scene.hands.told == ["made", b"that was all", "eof"]
    scene.wire.write(b"and a reply")
    assert scene.transport.calls == []
    scene.takes()
    scene.wire.close()
    assert scene.transport.calls == ["close"]


def test_who_has_ended_still_reads(open_scene: Scene) -> None:
    scene = open_scene
    scene.wire.write(b"all")
    scene.wire.write_eof()
    scene.wire.write_eof()
    scene.wire.write(b"no more")
    assert scene.transport.calls == ["write_eof"]
    assert scene.hears() == b"all<end>"
    scene.says(b"an answer")
    assert scene.hands.told[1:] == [b"an answer"]
    scene.wire.close()
    assert scene.transport.calls == ["write_eof", "close"]


def test_the_last_words_and_the_announcement_leave_together(open_scene: Scene) -> None:
    scene = open_scene
    before = len(scene.transport.writes)
    scene.wire.write_last(b"bye")
    assert len(scene.transport.writes) == before
    scene.wire.close()
    assert len(scene.transport.writes) == before + 1
    assert scene.hears() == b"bye<end>"
    scene.wire.write(b"ignored")
    scene.loop.turns()
    assert len(scene.transport.writes) == before + 1


def test_last_words_that_no_end_follows_go_out_in_the_next_turn(open_scene: Scene) -> None:
    open_scene.wire.write_last(b"bye")
    open_scene.loop.turns()
    assert open_scene.hears() == b"bye"


def test_who_ends_before_all_is_told_hears_the_rest(open_scene: Scene) -> None:
    """SSL_shutdown() would read what has come, and lose it."""
    scene = open_scene
    scene.hands.on_data = lambda data: scene.wire.write_eof()
    for number in range(100):
        scene.far.write(bytes([number]))
    scene.brings()
    assert scene.hears() == b"<end>"
    for _ in range(3):
        scene.loop.turns()
    assert b"".join(scene.hands.told[1:]) == bytes(range(100))
    scene.says(b", and more")
    assert scene.hands.told[-1] == b", and more"


def test_an_end_that_comes_before_all_is_told_is_told_behind_it(open_scene: Scene) -> None:
    scene = open_scene
    for number in range(40):
        scene.far.write(bytes([number]))
    scene.brings()
    assert scene.wire.eof_received() is True
    assert scene.hands.told[1:] == [bytes(range(32))]
    scene.loop.turns()
    assert scene.hands.told[2:] == [bytes(range(32, 40)), "eof"]
    assert scene.transport.calls == ["close"]


class Asking(TlsWire):
    """Of a client's kind, the far end being a server."""

    peer = "server"

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.shake()


def test_records_that_hold_nothing_are_counted_as_those_that_do() -> None:
    """P10. OpenSSL by itself goes on until there is data: tickets here, else ten thousand key updates."""
    loop, hands, transport = Loop(), Hands(), Transport()
    wire = Asking(loop, hands)
    context = server_context()
    context.num_tickets = 100
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = context.wrap_bio(back, there, server_side=True)
    wire.connection_made(transport)
    back.write(transport.writes.pop())
    with pytest.raises(ssl.SSLWantReadError):
        far.do_handshake()
    wire.data_received(there.read())
    back.write(b"".join(transport.writes))
    far.do_handshake()
    far.write(b"data")
    wire.data_received(there.read())
    turns = 0
    while b"data" not in hands.told:
        assert not transport.reading
        loop.turns()
        turns += 1
    assert turns == 3, "100 tickets and a record of data, 32 in a turn"
    assert transport.reading


class Watched:
    """A BIO, and the most that it has held."""

    def __init__(self, bio: ssl.MemoryBIO) -> None:
        self.bio, self.most = bio, 0

    def write(self, data: Any) -> int:
        self.bio.write(data)
        self.most = max(self.most, self.bio.pending)
        return len(data)

    def read(self) -> bytes:
        self.most = max(self.most, self.bio.pending)
        return self.bio.read()

    @property
    def pending(self) -> int:
        self.most = max(self.most, self.bio.pending)
        return self.bio.pending


def test_a_bio_never_holds_much_because_it_keeps_what_it_needed_once(open_scene: Scene) -> None:
    """P7. OpenSSL gives back nothing of it while the connection lives."""
    scene = open_scene
    incoming, outgoing = Watched(scene.wire._incoming), Watched(scene.wire._outgoing)
    scene.wire._incoming, scene.wire._outgoing = incoming, outgoing  # type: ignore[assignment]
    large = b"x" * 256 * 1024
    scene.hands.on_data = scene.wire.write
    scene.says(large)
    before = len(scene.transport.writes)
    scene.wire.write(large)
    assert len(scene.transport.writes) == before + 1, "and goes out in one piece all the same"
    assert scene.hears() == 2 * large
    assert incoming.most <= 34 * 1024
    assert outgoing.most <= 34 * 1024


@pytest.mark.parametrize("stays", [True, False])
def test_an_end_that_is_not_announced_is_told_as_one(open_scene: Scene, *, stays: bool) -> None:
    scene = open_scene
    scene.hands.stays = stays
    assert scene.wire.eof_received() is True
    assert scene.hands.told[1:] == ["eof"]
    assert scene.transport.calls == ([] if stays else ["close"])


def test_a_record_that_was_tampered_with_ends_it_with_an_error(open_scene: Scene) -> None:
    scene = open_scene
    scene.far.write(b"good")
    scene.far.write(b"bad")
    data = bytearray(scene.there.read())
    data[-1] ^= 1
    scene.wire.data_received(bytes(data))
    assert scene.hands.told[1:] == [b"good"], "what came before is told"
    assert scene.transport.calls == ["abort"]
    scene.wire.connection_lost(None)
    (error,) = scene.hands.told[2:]
    assert str(error) == "TLS: decryption failed or bad record mac"
    assert list(scene.wire.unread()) == []


def test_what_is_unsent_counts_what_is_held_back(open_scene: Scene) -> None:
    scene, sizes = open_scene, []
    scene.transport.kept = 100
    scene.hands.on_data = lambda data: [
        scene.wire.write(b"x" * 1000),
        sizes.append(scene.wire.get_write_buffer_size()),
    ]
    scene.says(b"ask")
    assert sizes[0] > 1100
    assert scene.wire.get_write_buffer_size() == 100
    scene.wire.pause_writing()
    scene.wire.resume_writing()
    assert scene.hands.told[2:] == ["pause", "resume"]


def test_who_asks_for_answers_and_takes_none_is_ended(open_scene: Scene) -> None:
    """OpenSSL answers by itself: key updates (RFC 8446 section 4.6.3), refusals of renegotiation."""
    scene = open_scene
    scene.transport.kept = 1
    for _ in range(10_000):
        scene.wire._outgoing.write(b"x" * 22)  # as after a read in which it has answered
        scene.wire._unfed = b"\x17\x03\x03"
        scene.wire._decrypt()
        scene.wire._read()
        if scene.transport.calls:
            break
    assert scene.transport.calls == ["abort"]


def test_a_handshake_that_fails_is_told_once_the_socket_is_going() -> None:
    for data, wanted in (
        (b"GET / HTTP/1.1\r\n\r\n", "TLS: the client does not speak TLS here (http request)"),
        (b"", "TLS: the connection ended in the middle of the handshake"),
    ):
        scene = Scene()
        if data:
            scene.wire.data_received(data)
        else:
            scene.wire.eof_received()
        assert scene.transport.calls == ["abort"]
        scene.wire.connection_lost(None)
        (error,) = scene.hands.told
        assert str(error) == wanted
