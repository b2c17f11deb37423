"""The state machine of DEDICATED sessions: bytes instead of exchanges, and the same promises after every
step.

A client begins what it says with its number, so that a server knows whose connection it has; from then on
each side must see a prefix of what the other has said, and where it sees an end without an error, all of it.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from muxproxy.mux.base.patience import ENDING
from muxproxy.mux.base.upstream import OPEN
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.mux.changes import Reloading
from tests.mux.judges import Bound, Waiting, nobody_stays_who_may_not
from tests.mux.test_machine import SETTINGS
from tests.toys import Toy

PICK = st.integers(0, 11)
MAX_CLIENTS = 5
BUFFER = 60  # bytes: small chunks shall reach it


class Talker:
    """A far end: what it has said and heard."""

    def __init__(self, peer: Peer, where: str = "") -> None:
        self.peer = peer
        self.where = where  # the destination; "": there is only one
        self.said = b""
        self.heard = b""
        self.broke_off = False

    def says(self, data: bytes) -> None:
        if self.peer.is_open and not self.peer.has_finished:
            self.said += data
            self.peer.sends(data)

    def listens(self) -> bytes:
        self.heard += self.peer.got()
        return self.heard

    def saw_end(self) -> bool:
        """One that passes for the other side's."""
        wire = self.peer.wire
        return (wire.eof or wire.closing) and not wire.was_reset and not self.broke_off

    def was_told_all_by(self, other: Talker) -> bool:
        """All that the other has said has come or would if it read, and the other says no more."""
        return other.peer.has_finished and self.listens() + self.peer.wire.buffer == other.said


class SessionsMachine(Reloading):
    def __init__(self) -> None:
        super().__init__()
        self.stage: Any = None  # until initialized
        self.clients: list[Talker] = []
        self.servers: list[Talker] = []

    @initialize(
        connections=st.integers(1, 3),
        waiting=st.integers(0, 3),
        spares=st.integers(0, 1),
        half=st.booleans(),
        seconds=st.sampled_from([0.0, 15.0]),
    )
    def begin(self, connections: int, waiting: int, spares: int, half: bool, seconds: float) -> None:
        self.half = half
        self.stage = Stage(
            Toy(Sharing.DEDICATED, half_close=half),
            max_connections=connections,
            min_connections=spares,
            max_waiting=waiting,
            session_timeout=seconds,
            timeout=1.0,
            client_idle_timeout=20.0,
            request_buffer=BUFFER,
            response_buffer=BUFFER,
            max_clients=MAX_CLIENTS - 1,
        )
        self.stage.request_high = BUFFER
        self.bound = Bound(self.stage)
        self.waiting = Waiting()

    def _pick(self, talkers: list[Talker], pick: int) -> Talker:
        alive = [talker for talker in talkers if talker.peer.is_open] or talkers
        return alive[pick % len(alive)]

    @precondition(lambda self: sum(client.peer.is_open for client in self.clients) < MAX_CLIENTS)
    @rule(speaks=st.booleans())
    def a_client_connects(self, speaks: bool) -> None:
        self._comes(Talker(self.stage.client()), speaks)

    def _comes(self, client: Talker, speaks: bool) -> None:
        self.clients.append(client)
        if speaks:
            client.says(b"<%d>" % (len(self.clients) - 1))

    @precondition(lambda self: self.stage.dials)
    @rule(pick=PICK, fails=st.booleans())
    def a_connect_ends(self, pick: int, fails: bool) -> None:
        upstream = self.stage.dials[pick % len(self.stage.dials)]
        if fails:
            self.stage.refuses(upstream)
        else:
            self.servers.append(Talker(self.stage.connects(upstream), upstream.server.address))

    @precondition(lambda self: self.clients)
    @rule(pick=PICK, size=st.sampled_from([1, 10, 80]))
    def a_client_speaks(self, pick: int, size: int) -> None:
        client = self._pick(self.clients, pick)
        if not client.said:
            client.says(b"<%d>" % self.clients.index(client))
        client.says(b"abcdefgh"[:size] * max(1, size // 8))

    @precondition(lambda self: self.servers)
    @rule(pick=PICK, size=st.sampled_from([1, 10, 80]))
    def a_server_speaks(self, pick: int, size: int) -> None:
        self._pick(self.servers, pick).says(b"12345678"[:size] * max(1, size // 8))

    @precondition(lambda self: self.clients or self.servers)
    @rule(pick=PICK, how=st.sampled_from(["closes", "breaks off", "stops reading", "reads"]))
    def an_end(self, pick: int, how: str) -> None:
        talker = self._pick(self.clients + self.servers, pick)
        peer = talker.peer
        if how == "closes":
            talker.peer.closes()
        elif how == "breaks off":
            talker.broke_off = True
            peer.breaks_off()
        elif how == "stops reading":
            peer.stops_reading()
        else:
            peer.reads()

    @rule(most=st.integers(0, 3), asked=st.sampled_from([0, 0, 1]))
    def the_allowance_changes(self, most: int, asked: int) -> None:
        self.bound.allow(most, asked)

    @rule(seconds=st.sampled_from([0.02, 0.5, 1.1, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.passes(seconds)

    @invariant()
    def all_promises_hold(self) -> None:
        if self.stage is not None:
            self.p1_the_bound_holds()
            self.p2_p6_the_ends_see_what_they_should()
            self.p3_one_outcome_each()
            self.p4_nobody_waits_beside_a_free_place()
            self.p7_bounds_hold()

    def p1_the_bound_holds(self) -> None:
        assert len(self.stage.world.sockets) <= self.stage.config.upstream.max_connections
        self.bound.judge()

    def p2_p6_the_ends_see_what_they_should(self) -> None:
        for server in self.servers:
            heard = server.listens()
            if heard.startswith(b"<") and b">" in heard:  # its client's own words, and no other's
                client = self.clients[int(heard[1 : heard.index(b">")])]
                assert client.where in ("", server.where)
                assert client.said.startswith(heard)
                told = client.listens()
                assert server.said.startswith(told) or told.startswith(b"no ")
                if self.half:
                    assert not server.saw_end() or server.was_told_all_by(client)
                    assert not client.saw_end() or client.was_told_all_by(server)

    def p3_one_outcome_each(self) -> None:
        pool = self.stage.pool
        counted = sum(self.stage.outcomes().values())
        owed = sum(client.first is not None for client in pool.clients)
        refused = self.stage.outcomes().get("clients_full", 0)
        assert counted - refused + owed == len(self.clients) - refused  # one session each

    def p4_nobody_waits_beside_a_free_place(self) -> None:
        pool = self.stage.pool
        idle = sum(u.state == OPEN and not u.load() for u in pool.upstreams)
        assert not (idle and pool.gate.waiting)

    def p7_bounds_hold(self) -> None:
        pool, config = self.stage.pool, self.stage.config
        self.waiting.judge(pool.gate.waiting, max(config.queue.max_waiting, config.upstream.max_connections))
        nobody_stays_who_may_not(self.stage)
        self.buffers_are_bounded()

    def buffers_are_bounded(self) -> None:
        for brain in self.stage.pool.clients:
            if brain.phase != ENDING and brain.first is not None:
                assert brain.first.size <= BUFFER + 100
        for talker in self.clients + self.servers:
            assert len(talker.peer.wire.buffer) <= BUFFER + 200

    def teardown(self) -> None:
        if self.stage is None:
            return
        for talker in self.clients + self.servers:
            talker.peer.reads()
            talker.peer.closes()
        self.stage.passes(10.0)
        numbers = self.stage.statistics()
        assert (numbers["clients"], numbers["waiting"], numbers["in_flight"]) == (0, 0, 0)
        assert sum(self.stage.outcomes().values()) == len(self.clients)


TestSessions = SessionsMachine.TestCase
TestSessions.settings = SETTINGS
