"""The ledger by tag: replies by id, in any order.

Every request gets an id that was never used on the connection, those without a reply too: a server that
answers them all the same answers nobody. So no reply can be another's, and one that matches nothing is
dropped and counted; the connection lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from muxproxy.mux.base.server import Server
from muxproxy.mux.base.upstream import OPEN, SILENT
from muxproxy.mux.deadlines import INF
from muxproxy.mux.exchange import DONE, REPLYING, ClientRole, Exchange
from muxproxy.mux.shared.accounts import SharedAccounts
from muxproxy.mux.tagged.client import TaggedClient
from muxproxy.mux.tagged.heartbeat import NOTED, PATIENCE, HasHeartbeat, Heartbeat
from muxproxy.mux.tagged.slots import Slots
from muxproxy.native import i64
from muxproxy.protocols.contract import (
    END_UPSTREAM,
    FIRST,
    FRAMES,
    INTERIM,
    LAST,
    ONEWAY,
    PIN,
    Frame,
    Reason,
    TaggedProtocol,
)

_WHOLE: Final = FIRST | LAST
# Bytes of a request, as an average of those that are written together: from here on to join them costs more
# than to name their parts to the kernel.
LARGE: Final = 4096

# Answers to the server's own questions that wait until a request has been written to its end.
MAX_KEPT: Final = 64 * 1024  # bytes; beyond it a question gets no answer


class TaggedUpstream(HasHeartbeat):
    """Ids are ours on the wire and the client's own in its reply."""

    __slots__ = ("_asked", "_heartbeat", "_kept", "_protocol", "_slots")

    def __init__(self, pool: SharedAccounts, server: Server, now: float) -> None:
        super().__init__(pool, server, now)
        self._protocol = cast(TaggedProtocol, pool.protocol)
        self._slots = Slots()
        self._kept = b""
        self._asked = False  # whether it lives, and not heard since
        self._heartbeat: Heartbeat | None = None

    def open(self, now: float) -> None:
        self.heard = now
        self.start_heartbeat(now)
        super().open(now)

    def start_heartbeat(self, now: float) -> None:
        """As it is configured now."""
        protocol, before = self._protocol, self._heartbeat
        self._heartbeat = None
        if before is not None:
            before.stop()
        if protocol.probe_interval:
            self._heartbeat = Heartbeat(
                self, protocol.probe_interval, protocol.probe_misses, protocol.probe_keep, now
            )

    # -- the ledger --------------------------------------------------------------------------------

    def _enter(self, exchange: Exchange) -> None:
        exchange.data = self._protocol.retag(exchange.data, self._slots.add(exchange))

    def _pass(self, exchange: Exchange) -> None:
        exchange.data = self._protocol.retag(exchange.data, self._slots.skip())

    def _match(self, frame: Frame) -> Exchange | None:
        return self._slots.get(frame.tag)

    def _strike(self, exchange: Exchange) -> None:
        self._slots.remove(exchange)

    def _strike_unwritten(self, exchange: Exchange) -> None:
        self._strike(exchange)

    def _newest(self) -> Exchange | None:
        return self._slots.newest()

    def _oldest(self) -> Exchange | None:
        return self._slots.oldest()

    def _all(self) -> list[Exchange]:
        everything = self._slots.all()
        self._slots.clear()
        return everything

    def _waiting_for_reply(self) -> list[Exchange]:
        return self._slots.all()

    def _write(self, out: list[Exchange], now: float) -> None:
        """As Gathering does, where ids are all that is to be done: as nearly always."""
        for exchange in out:
            if exchange.marks & ONEWAY or not exchange.whole:
                super()._write(out, now)
                return
        slots, protocol = self._slots, self._protocol
        parts: list[bytes | memoryview] = []
        size = 0
        has_bodies = False
        for exchange in out:
            size += len(exchange.data)
            protocol.retag_into(parts, exchange.data, slots.add(exchange))
            if exchange.more is not None:
                has_bodies = True
                size += exchange.size
                parts.extend(exchange.more)
        wire = self.wire
        assert wire is not None
        if size < LARGE * len(out):
            wire.write(b"".join(parts))
        else:
            wire.writelines(parts)
        if wire.is_closing():
            self._on_unwritten(out)
        elif has_bodies:
            self._drop_bodies(out)

    def _for_client(self, exchange: Exchange, frame: Frame) -> Frame:
        if not frame.marks & FIRST:
            return frame
        data = self._protocol.retag(frame.data, exchange.tag)
        return Frame(data, frame.marks, frame.note, exchange.tag)

    def _stray(self, frame: Frame) -> bool:
        if frame.marks & FIRST:  # the others are more of it
            self.pool.count_event("unknown_tags")
        return True

    # -- what the server says by itself ------------------------------------------------------------

    def on_data(self, data: bytes, now: float) -> None:
        self.heard = now
        self._asked = False
        super().on_data(data, now)

    def _on_chunk(self, data: bytes, now: float) -> None:
        """Of replies that are whole, as nearly all, no frames are made."""
        end = self.replies.extent(data, 0)
        if not end:
            super()._on_chunk(data, now)
        elif end == len(data):
            self._on_whole(self.replies.whose, data, 0, end, now)
        else:
            self.pool.corked = []
            try:
                self._on_many(data, end, now)
            finally:
                self._uncork()

    def _on_many(self, data: bytes, end: i64, now: float) -> None:
        """The first of them ends at `end`."""
        replies = self.replies
        size: i64 = len(data)
        at: i64 = 0
        spent: i64 = 0
        while end:
            self._on_whole(replies.whose, data, at, end, now)
            if self.state != OPEN:
                return
            at = end
            spent += 1
            if at == size:
                return
            end = replies.extent(data, at) if spent < FRAMES else 0
        self._on_frames(self._frames_of(replies.rest(data, at, spent)), now)

    def _on_whole(self, tag: int, data: bytes, at: i64, end: i64, now: float) -> None:
        """The reply `data[at:end]`."""
        slots = self._slots
        exchange = slots.get(tag)
        client = None if exchange is None else exchange.client
        if exchange is None or client is None or exchange.marks & PIN or exchange.limit >= 0:
            self._on_frame(Frame(data[at:end], _WHOLE, None, tag), now)
            return
        # As nearly always.
        assert isinstance(client, TaggedClient)
        slots.remove(exchange)
        exchange.upstream = None
        self.in_flight -= exchange.weight
        self.server.in_flight -= exchange.weight
        try:
            client.deliver_whole(exchange, data, at, end, now)
        except Exception:
            client.on_bug(now)  # which is on no ledger of ours any more (P2, P3)
            raise
        if client.write_paused or exchange.parked is not None:
            self._hold_for(client, Frame(data[at:end], _WHOLE), now)

    def _on_frames(self, frames: Sequence[Frame], now: float) -> None:
        for frame in frames:
            if frame.marks == _WHOLE:
                self._on_whole(frame.tag, frame.data, 0, len(frame.data), now)
            else:
                self._on_frame(frame, now)
            if self.state != OPEN:
                return

    def _on_push(self, frame: Frame, now: float) -> None:
        if frame.marks & END_UPSTREAM:
            self._on_last_call(frame.note, now)
        elif frame.marks & INTERIM:
            self.server.on_stays("server goes on", now)
        elif frame.data:
            self._say(frame.data)

    def _say(self, data: bytes) -> None:
        """Between two requests: parts of one must stand together."""
        if self._streaming is not None or self._write_paused:
            if len(self._kept) + len(data) <= MAX_KEPT:
                self._kept += data
        elif self.wire is not None:
            self.wire.write(data)

    def _say_kept(self) -> None:
        if self._kept and self._streaming is None:
            data, self._kept = self._kept, b""
            self._say(data)

    def send_more(self, exchange: Exchange, data: bytes, now: float) -> None:
        super().send_more(exchange, data, now)
        self._say_kept()

    def has_room(self, weight: int = 1) -> bool:
        return super().has_room(weight) and not self._write_paused

    def on_write_paused(self, now: float) -> None:
        """Its server does not read as fast as we write: others get the next requests, or these wait (P7)."""
        super().on_write_paused(now)
        if self in self.server.open:
            self.server.open.remove(self)

    def on_write_resumed(self, now: float) -> None:
        super().on_write_resumed(now)
        if self.state == OPEN:
            if self not in self.server.open:
                self.server.open.append(self)
            self._say_kept()
            self.pool.release(self, now)

    def _on_last_call(self, why: str, now: float) -> None:
        """Its server is about to stop: none of its connections gets more, unless no other server can serve.
        This one alone is replaced even then: behind the address another may stand by now."""
        self.server.on_last_call(now, self._protocol.stop_timeout)
        self.on_last_call(why)
        if self.pool.others_serve(self.server):
            self.shared_pool.retire_all(self.server, why, now)

    # -- silence -----------------------------------------------------------------------------------

    def _clients_bound(self) -> set[ClientRole | None]:
        return set()  # replies go by id: nobody stands behind another

    def _look_at_silence(self, now: float) -> float:
        """A call may take its time, and says nothing of its connection: that is asked for a heartbeat, if any
        was written since it was last heard, and is suspect if it does not answer that either. (Where [dubbo]
        heartbeat is 0 none is asked for.)"""
        if self.owner is not None or self.suspect & SILENT:
            return INF
        if self.written() < self.heard or self.may_be_silent():
            self._asked = False
        elif self._asked:
            self._asked = False
            return super()._look_at_silence(now)
        else:
            self._asked = True
            if self._protocol.probe_interval:
                self.ask_for_life()
        return now + self.shared_pool.first_look

    def written(self) -> float:
        newest = self._slots.newest()
        return 0.0 if newest is None else newest.sent

    def on_server_eof(self, now: float) -> bool:
        quiet = now - max(self.heard, self.written())
        if self._slots.size and quiet >= NOTED and not self.server.stopping:
            self._on_pace(quiet, now)
        return super().on_server_eof(now)

    def _on_pace(self, quiet: float, now: float) -> None:
        """Its server closed it for its silence, as it seems, with calls in flight."""
        pool, server, protocol = self.pool, self.server, self._protocol
        pace = quiet / PATIENCE
        if pace >= server.pace:
            return
        text = f"closed after {quiet:.3g} s of silence with requests in flight"
        advice = f"if it does so by its own heartbeat, set {protocol.probe_key} to {pace:.2g}s or less"
        where = {"backend": pool.name, "server": str(server)}
        pool.world.log(
            "server closes silent connections", level="warning", **where, error=text, advice=advice
        )
        if protocol.probe_interval:  # so it is, until somebody does
            server.pace = pace
            opened: list[TaggedUpstream] = server.open
            for each in opened:
                if each._heartbeat is not None:
                    each._heartbeat.hurry(now)

    def may_be_silent(self) -> bool:
        return self.read_paused or (self._streaming is not None and not self._write_paused)

    def ask_for_life(self) -> None:
        self._say(self._protocol.probe() or b"")

    def on_silence(self, text: str, now: float) -> None:
        where = {"backend": self.pool.name, "server": str(self.server)}
        self.pool.world.log("server is silent", level="warning", **where, error=text)
        self.server.on_failed(text, now, now)
        self.fail("silent", Reason.SERVER_CLOSED, text, now)

    def on_reply_deadline(self, now: float) -> None:
        """A reply that does not come in twice its time is not waited for any longer, and its id never used
        again: others are in flight here, and get theirs. A server that said nothing at all meanwhile is
        stuck."""
        timeout = self.pool.reply_timeout
        oldest = self._oldest()
        if oldest is None:
            return
        look = self._look_at_silence(now)
        if oldest is not self._streaming and max(oldest.sent, self.heard) + 2 * timeout <= now:
            self.fail("reply timeout", Reason.REPLY_TIMEOUT, f"silent for {2 * timeout:g} s", now)
            return
        next_look, forgotten = look, 0
        for exchange in self._slots.all():
            if exchange is self._streaming:
                continue
            since = self.heard if exchange.state == REPLYING else exchange.sent
            due = since + timeout
            if due <= now:
                client, exchange.client = exchange.client, None
                if client is not None:
                    text = f"{self.server}: no reply for {timeout:g} s"
                    client.refuse(exchange, Reason.REPLY_TIMEOUT, text, now)
                due += timeout
                if due <= now:
                    self._forget(exchange, now)
                    forgotten += 1
                    continue
            next_look = min(next_look, due)
        if self.state == OPEN and forgotten:
            self.pool.release(self, now)  # their places are for those who wait (P4)
        if self.state == OPEN and self._slots.size:
            self.expect_by(next_look)

    def _forget(self, exchange: Exchange, now: float) -> None:
        if self._slots.get(exchange.wire_tag) is not exchange:
            return
        self._slots.remove(exchange)
        exchange.upstream = None
        self.in_flight -= exchange.weight
        self.server.in_flight -= exchange.weight
        self.pool.count_event("replies_that_never_came")
        if exchange.state != DONE:
            exchange.move(DONE)
