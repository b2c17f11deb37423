"""A rule-based state machine per sharing: anything may happen in any order, and after each step P1 to P9
must hold.

The judges are what the two ends see (observers.py) and the fake world's own count of sockets; the heart's
ledgers are asked only where the promise is about who waits (P3, P4, P5, P7). At a full run
(tests/sizes.py) they go on for minutes, and another way each time.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from muxproxy.mux.base.client import ENDING, Client
from muxproxy.mux.base.upstream import OPEN, Upstream
from muxproxy.mux.exchange import Exchange
from muxproxy.protocols.contract import ONEWAY, Sharing
from tests.fakes import Stage
from tests.mux.census import SEES_ALL, Census
from tests.mux.changes import Reloading
from tests.mux.judges import Bound, Waiting, nobody_stays_who_may_not, nobody_waits_beside_a_free_place
from tests.mux.observers import WORDS, ClientEnd, Request, ServerEnd, message
from tests.mux.scale import MAX_CLIENTS, REQUEST_BUFFER, REQUEST_HIGH, RESPONSE_BUFFER, SCALE
from tests.sizes import is_full, size
from tests.toys import Toy

SETTINGS = settings(
    max_examples=size(100, 5_000),
    stateful_step_count=size(50, 80),
    deadline=None,
    derandomize=not is_full(),  # one and the same run for everybody, until somebody asks for more
    database=None,
    suppress_health_check=list(HealthCheck),  # they judge the machine and the size of a play, not the law
    # Shrinking fifty steps takes longer than any test may; the run that failed is printed as it is.
    phases=(Phase.generate, Phase.shrink) if is_full() else (Phase.generate,),
)

PICK = st.integers(0, 11)
SIZES = st.sampled_from([0, 0, 0, 7, 30, 90, 200])


class Machine(Reloading):
    sharing: ClassVar[Sharing]
    words: ClassVar[tuple[str, ...]] = ()  # of its requests; (): WORDS

    def __init__(self) -> None:
        super().__init__()
        self.census = Census()
        self.exchanges = self.census.exchanges
        self.stage: Any = None  # until initialized
        self.clients: list[ClientEnd] = []
        self.servers: list[ServerEnd] = []
        self.arrivals: Counter[str] = Counter()  # request -> how often it came to any server
        self.came_on: dict[str, int] = {}  # the serial of the connection
        self.idempotent: set[str] = set()
        self.waited: dict[object, list[Exchange]] = {}  # who waited where after the last step
        self.retried = 0

    def protocol(self) -> Toy:
        toy = Toy(self.sharing, sessions=self.sharing is not Sharing.EXCLUSIVE)
        toy.frames = 2  # P10: what is more goes on in later turns
        return toy

    @initialize(
        connections=st.integers(1, 3),
        in_flight=st.integers(1, 3),
        servers=st.integers(1, 2),
        warm=st.integers(0, 3),
        waiting=st.integers(0, 4),
        pinned=st.integers(0, 2),
        lifetime=st.sampled_from([0.0, 20.0]),
        unsaid=st.booleans(),
    )
    def begin(
        self,
        connections: int,
        in_flight: int,
        servers: int,
        warm: int,
        waiting: int,
        pinned: int,
        lifetime: float,
        unsaid: bool,
    ) -> None:
        toy = self.protocol()
        toy.may_close_unsaid = unsaid and self.sharing is Sharing.EXCLUSIVE
        self.stage = Stage(
            toy,
            servers=("one:1", "two:2")[:servers],
            max_connections=connections,
            max_in_flight=in_flight,
            min_connections=min(warm, connections),
            max_waiting=waiting,
            max_pinned=pinned,
            max_lifetime=lifetime,
            **SCALE,
        )
        self.stage.request_high = REQUEST_HIGH
        self.bound = Bound(self.stage)
        self.waiting = Waiting()
        self.most_in_flight = 0  # ever

    # -- clients ----------------------------------------------------------------------------------------

    def _client(self, pick: int) -> ClientEnd:
        alive = [client for client in self.clients if client.peer.is_open] or self.clients
        return alive[pick % len(alive)]

    @precondition(lambda self: sum(client.peer.is_open for client in self.clients) < MAX_CLIENTS)
    @rule()
    def a_client_connects(self) -> None:
        self.clients.append(ClientEnd(len(self.clients), self.stage.client(), self.sharing))

    @precondition(lambda self: self.clients)
    @rule(pick=PICK, kinds=st.lists(PICK, min_size=1, max_size=3), size=SIZES, cut=st.integers(0, 90))
    def a_client_sends(self, pick: int, kinds: list[int], size: int, cut: int) -> None:
        """One to three requests in a chunk, whole or cut off somewhere."""
        client = self._client(pick)
        data = client.unsent
        if not data:
            for kind in kinds:
                if not client.finished:
                    words = self.words or WORDS[self.sharing]
                    data += self._request(client, words[kind % len(words)], size)
        cut = cut if 0 < cut < len(data) else len(data)
        client.unsent = data[cut:]
        client.peer.sends(data[:cut])

    @precondition(lambda self: self.clients)
    @rule(kinds=st.lists(PICK, min_size=2, max_size=4), size=SIZES)
    def several_clients_send(self, kinds: list[int], size: int) -> None:
        for number, kind in enumerate(kinds):
            self.a_client_sends(number, [kind], size, 0)

    def _request(self, client: ClientEnd, word: str, size: int) -> bytes:
        serial = len(client.asked)
        name = f"{word if word in ('!', '?') else ''}c{client.number}r{serial}"
        client.finished = word in ("bye", "!", "?") or (word == "pin" and self.sharing is Sharing.EXCLUSIVE)
        if word == "oneway":
            client.silent.add(name)
            size = 0
        elif word == "idem":
            self.idempotent.add(name)
        elif word.startswith("db="):
            client.database = word
            size = 0
        elif word in ("local", "!", "?"):
            size = 0
        tag = serial + 500  # the same at each client: only the heart's own tags keep them apart
        client.asked.append(name)
        client.by_tag[tag] = name
        words = tuple(filter(None, (word, f"in:{client.database}")))
        return message(name, words, size, tag, self.sharing)

    @precondition(lambda self: any(not client.peer.wire.takes for client in self.clients))
    @rule(pick=PICK, size=st.sampled_from([None, 1, 50]))
    def a_client_reads(self, pick: int, size: int | None) -> None:
        stalled = [client for client in self.clients if not client.peer.wire.takes]
        stalled[pick % len(stalled)].peer.reads(size)

    @precondition(lambda self: any(client.is_opaque for client in self.clients))
    @rule(pick=PICK)
    def a_client_talks_through_its_tunnel(self, pick: int) -> None:
        client = self._client(pick)
        if client.is_opaque:
            client.peer.sends(b"<%d>" % client.number)

    # -- servers ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.stage.dials)
    @rule(pick=PICK)
    def a_connect_succeeds(self, pick: int) -> None:
        upstream = self.stage.dials[pick % len(self.stage.dials)]
        self.servers.append(ServerEnd(self.stage.connects(upstream), self.sharing))

    @precondition(lambda self: self.stage.dials)
    @rule()
    def all_connects_succeed(self) -> None:
        while self.stage.dials:
            self.a_connect_succeeds(0)

    def _busy(self) -> list[ServerEnd]:
        alive = [s for s in self.servers if s.peer.is_open and not s.peer.has_finished]
        return [server for server in alive if server.pending or server.rest]

    @precondition(lambda self: self._busy())
    @rule(
        pick=PICK,
        which=PICK,
        word=st.sampled_from(["", "", "", "100", "101", "close", "hint=4"]),
        size=SIZES,
        cut=st.integers(0, 60),
    )
    def a_server_replies(self, pick: int, which: int, word: str, size: int, cut: int) -> None:
        busy = self._busy()
        server = busy[pick % len(busy)]
        data = server.rest or self._reply(server, which, word, size)
        cut = cut if 0 < cut < len(data) else len(data)
        server.rest = data[cut:]
        if not server.rest and server.serving is not None:
            server.pending.remove(server.serving)
            server.serving = None
        server.peer.sends(data[:cut])

    def _reply(self, server: ServerEnd, which: int, word: str = "", size: int = 0) -> bytes:
        """The reply to a pending request, which becomes `serving`, or an interim one."""
        if server.is_opaque:
            return b"<server>"
        request = server.pending[which % len(server.pending) if self.sharing is Sharing.TAGGED else 0]
        if request.name in ("select", "reset"):
            server.serving = request
            return b"ok\n"
        if self.sharing is not Sharing.EXCLUSIVE:
            word = ""
        if word == "101" and ("pin" not in request.words or not request.is_whole):
            word = ""
        words = (word,) if word else ()
        if word == "100":
            return message(request.name, words, 0, request.tag, self.sharing)
        if word == "101":
            server.go_opaque()
            return message(request.name, words, 0, request.tag, self.sharing)
        server.serving = request
        return message(request.name, words, size, request.tag, self.sharing)

    @precondition(lambda self: self._busy())
    @rule(pick=PICK, size=SIZES, then_close=st.booleans())
    def a_server_replies_to_all_in_one_chunk(self, pick: int, size: int, then_close: bool) -> None:
        busy = self._busy()
        self._reply_to_all(busy[pick % len(busy)], size, then_close)

    def _reply_to_all(self, server: ServerEnd, size: int, then_close: bool) -> None:
        data, server.rest = server.rest, b""
        if server.serving is not None:
            server.pending.remove(server.serving)
            server.serving = None
        if not server.is_opaque:
            while server.pending:
                data += self._reply(server, 0, "", size)
                server.pending.pop(0)
            server.serving = None
        with self.stage.turn():
            server.peer.sends(data)
            if then_close:
                server.peer.closes()

    @rule(pick=PICK, kind=st.integers(0, 10))
    def something_goes_wrong(self, pick: int, kind: int) -> None:
        """One rule for all of it: else nearly nothing would go right."""
        alive = [server for server in self.servers if server.peer.is_open]
        if kind <= 3 and self.clients:
            self._client_trouble(self._client(pick), kind)
        elif kind != 9 and alive:
            self._server_trouble(alive[pick % len(alive)], kind)
        elif self.stage.dials:
            self.stage.refuses(self.stage.dials[pick % len(self.stage.dials)])

    def _client_trouble(self, client: ClientEnd, kind: int) -> None:
        if kind <= 1:
            client.peer.stops_reading()
            return
        client.has_left = client.finished = True
        if kind == 2:
            client.peer.breaks_off()
        else:
            client.peer.closes()

    def _server_trouble(self, server: ServerEnd, kind: int) -> None:
        if kind == 4:
            server.peer.closes()
        elif kind == 5:
            server.peer.breaks_off()
        elif kind == 6:
            server.peer.stops_reading()
        elif kind == 10:  # its machine is not heard any more
            server.peer.wire.unanswered, server.peer.wire.silent = 4, 4.0
        elif kind == 7 and not server.pending and self.sharing is not Sharing.TAGGED:
            server.peer.sends(b"surprise\n")
        elif kind == 8 and not server.rest and not server.is_opaque:
            server.peer.sends(b"00000000 !\n" if self.sharing is Sharing.TAGGED else b"!\n")

    @precondition(lambda self: any(not server.peer.wire.takes for server in self.servers))
    @rule()
    def servers_read_on(self) -> None:
        for server in self.servers:
            server.peer.reads()

    @rule(most=st.integers(0, 3), asked=st.sampled_from([0, 0, 0, 1, 2]))
    def the_allowance_changes(self, most: int, asked: int) -> None:
        self.bound.allow(most, asked)

    @rule(seconds=st.sampled_from([0.02, 0.02, 0.02, 0.3, 0.3, 1.1, 3.5, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.passes(seconds)

    # -- promises ---------------------------------------------------------------------------------------

    @invariant()
    def all_promises_hold(self) -> None:
        if self.stage is not None:
            self.census.look(self.stage.pool.clients)
            self.p1_the_bound_holds()
            self.p2_p6_p9_the_ends_see_what_they_should()
            self.p3_every_exchange_is_counted_once_or_owed()
            self.p4_nobody_waits_beside_a_free_place()
            self.p5_a_connection_owes_what_its_server_has_not_replied()
            self.p7_bounds_hold()
            nobody_stays_who_may_not(self.stage)

    def p1_the_bound_holds(self) -> None:
        assert len(self.stage.world.sockets) <= self.stage.config.upstream.max_connections
        self.bound.judge()

    def p2_p6_p9_the_ends_see_what_they_should(self) -> None:
        for client in self.clients:
            client.check()
        journal, self.stage.world.journal = self.stage.world.journal, []
        servers = {id(server.peer.wire): server for server in self.servers}
        for wire in journal:
            server = servers.get(id(wire))
            if server is not None:
                for request in server.arrivals():
                    self._check_arrival(server, request)

    def _check_arrival(self, server: ServerEnd, request: Request) -> None:
        client = self.clients[request.client]
        self.arrivals[request.name] += 1
        may = 2 if request.name in self.idempotent else 1
        serial = server.peer.wire.brain.serial
        assert serial > self.came_on.get(request.name, 0), f"P9: {request.name} again on an older connection"
        self.came_on[request.name] = serial
        assert self.arrivals[request.name] <= may, f"P9: {request.name}: {self.arrivals[request.name]} times"
        is_right = f"in:{request.database}" in request.words or "anywhere" in request.words
        assert is_right, f"P2: {request.words} in {request.database}"
        if self.sharing is not Sharing.ORDERED:
            return
        for other in self.servers:
            if not other.peer.is_open:
                continue
            if other is not server:
                theirs = [r for r in other.pending if r.name not in ("select", "reset")]
                owed = [r.serial for r in theirs if r.client == request.client]
                owed = [serial for serial in owed if client.answered <= serial < request.serial]
                assert not owed, f"P2: {request.name} overtakes {owed} of its client"
            if other.owner is not None:
                is_mine = other.owner == request.client
                assert is_mine == (other is server), (
                    f"P2: {request.name} and the transaction of {other.owner}"
                )
        if "pin" in request.words:
            server.owner = request.client
        elif "unpin" in request.words:
            server.owner = None

    def p3_every_exchange_is_counted_once_or_owed(self) -> None:
        counted = self.stage.outcomes()
        counted.pop("clients_full", None)
        ended = Counter(exchange.reason.label for exchange in self.exchanges if exchange.reason is not None)
        for early in ("request_timeout", "client_broke"):  # in a head, before there is an exchange
            assert counted.pop(early, 0) >= ended.pop(early, 0)
        if SEES_ALL:
            assert counted == ended
        else:
            assert all(counted.get(reason, 0) >= number for reason, number in ended.items())
        for exchange in self.exchanges:
            if exchange.reason is None:
                client = exchange.client
                assert client is not None
                assert client.wire is not None
                assert client.phase != ENDING

    def p4_nobody_waits_beside_a_free_place(self) -> None:
        nobody_waits_beside_a_free_place(self.stage)
        pool = self.stage.pool
        for queue in (pool.queue, pool.pin_queue, pool.stream_queue):
            ages = [exchange.since for exchange in self.exchanges if exchange.queue is queue]
            assert queue.oldest() == min(ages, default=None), "P4: not FIFO"
            before = self.waited.get(queue, [])
            passed_over = [e for e in before if e.queue is queue]
            served = [e for e in before if e.queue is not queue and e.upstream is not None]
            if passed_over and served and pool.retried == self.retried:
                assert max(e.since for e in served) <= min(e.since for e in passed_over), "P4: not FIFO"
            self.waited[queue] = [exchange for exchange in self.exchanges if exchange.queue is queue]
        self.retried = pool.retried

    def p5_a_connection_owes_what_its_server_has_not_replied(self) -> None:
        forgotten = self.stage.pool.events.get("replies_that_never_came", 0)
        for server in self.servers:
            brain: Upstream = server.peer.wire.brain
            if brain.state == OPEN and not server.peer.wire.unread():
                unwritten = sum(not exchange.marks & ONEWAY for exchange in getattr(brain, "_out", ()))
                less = len(server.pending) - (brain.load() - unwritten)
                assert 0 <= less <= forgotten, f"P5: {brain} owes {server.pending}"

    def p7_bounds_hold(self) -> None:
        pool, config = self.stage.pool, self.stage.config
        self.most_in_flight = max(self.most_in_flight, config.upstream.max_in_flight)
        in_flight = self.most_in_flight if self.sharing is not Sharing.EXCLUSIVE else 1
        # what comes back from a connection that died waits again: it had been admitted; with max_waiting = 0
        # some wait for a connect
        extra = pool.retried or pool.closed or not config.queue.max_waiting
        spare = config.upstream.max_connections * in_flight if extra else 0
        self.waiting.judge(pool.gate.waiting, config.queue.max_waiting + spare)
        queues = [pool.queue, pool.pin_queue, pool.retry_queue, pool.stream_queue]
        queues += [u.queue for u in pool.upstreams if getattr(u, "queue", None)]
        assert pool.gate.waiting == sum(map(len, queues))
        assert pool.pinned == sum(u.owner is not None and u.counts for u in pool.upstreams)
        for client in self.clients:
            assert len(client.peer.wire.buffer) <= 2 * RESPONSE_BUFFER + 800  # and one chunk of replies
        for exchange in self.exchanges:
            assert exchange.size <= REQUEST_BUFFER + 700  # and one chunk

    # -- the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.stage is not None:
                self._finish()
        finally:
            self.census.end()

    def _finish(self) -> None:
        """Everybody does their duty: everything that is owed is paid, and nothing is left."""
        self.bound.allow(self.stage.config.upstream.max_connections)
        for client in self.clients:
            client.peer.reads()
            client.peer.sends(client.unsent)
        for _ in range(60):
            self._do_duties()
            self.census.look(self.stage.pool.clients)
            asks_on = any(client.peer.wire.brain.busy for client in self.clients)  # in its next turn
            if not asks_on and not any(exchange.reason is None for exchange in self.exchanges):
                break
        for client in self.clients:
            client.check()
            if client.peer.is_open and not client.is_opaque and not client.peer.wire.eof:  # FIN: was refused
                missing = [name for name in client.unanswered() if name not in client.silent]
                assert missing == [], "P3: no answer"
        stage = self.stage
        self.bound.allow(1)
        stage.passes(0.1)
        owned = self.bound.owned()
        assert len(stage.world.sockets) <= max(1, owned), "P1: what is not needed any more has stayed"
        with stage.turn():
            stage.pool.drain(stage.world.now)
        for client in self.clients:
            client.peer.closes()
        assert stage.world.drained_pools
        stage.passes(20.0)
        numbers = stage.statistics()
        assert (numbers["clients"], numbers["waiting"], numbers["in_flight"]) == (0, 0, 0)
        assert all(exchange.reason is not None for exchange in self.exchanges)
        on_wheel = [timed for slot in stage.world.slow._slots.values() for timed in slot]
        assert not any(isinstance(timed, Client) for timed in on_wheel), "a client that left is on the wheel"

    def _do_duties(self) -> None:
        while self.stage.dials:
            self.a_connect_succeeds(0)
        for server in self.servers:
            server.peer.reads()
        self.p2_p6_p9_the_ends_see_what_they_should()
        for server in self._busy():
            if server.is_opaque:
                server.peer.closes()
        while busy := self._busy():
            self._reply_to_all(busy[0], 0, then_close=False)
            self.p2_p6_p9_the_ends_see_what_they_should()
        self.stage.passes(0.2)


class ExclusiveMachine(Machine):
    sharing = Sharing.EXCLUSIVE


class OrderedMachine(Machine):
    sharing = Sharing.ORDERED


class TaggedMachine(Machine):
    sharing = Sharing.TAGGED


TestExclusive = ExclusiveMachine.TestCase
TestExclusive.settings = SETTINGS
TestOrdered = OrderedMachine.TestCase
TestOrdered.settings = SETTINGS
TestTagged = TaggedMachine.TestCase
TestTagged.settings = SETTINGS
