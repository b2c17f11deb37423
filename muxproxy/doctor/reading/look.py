"""Two looks at the machine some time apart, and glances in between: facts.

A look is everything; a glance is the sockets that live, and who holds what, for a connection that lasts a
millisecond is in nobody's list at the second look. Glances take a tenth of the time: a doctor is no load.

*Opened* is each connection that was not there at the first look and was seen since, by its cookie: at the
second look also those that are in TIME_WAIT by then. One that the server has closed, between two glances,
was not seen: it is in `growth["Tcp.ActiveOpens"]`, and in no flow.
"""

from __future__ import annotations

import gc
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from muxproxy.doctor.facts import Facts, Flow, Holder, Listener, Ports, Process, Sight
from muxproxy.doctor.reading import proc
from muxproxy.doctor.reading.diag import Diag
from muxproxy.doctor.reading.proc import Held
from muxproxy.doctor.reading.procnet import ProcNet
from muxproxy.doctor.reading.sockets import Ends, Lister, Socket, TimeWait, address, ends

_SHARE = 0.1  # of the time, for glances
_PAUSE = 0.02  # seconds between two glances, at least
_DEAR = 0.1  # seconds: a list that takes so long, of tens of thousands, is not made twice at a glance
_SEARCH = 0.05  # seconds of looking at hands and nothing else
_WAIT_MS = 60_000  # TCP_TIMEWAIT_LEN
_YOUNG_MS = _WAIT_MS - 1000  # tcp_tw_reuse takes one only when a second has passed
_SEARCHING = 0.5  # the same while nobody has been seen with the sockets of a flow that is full
_CROWDED = 0.5  # of the ports: such a flow is worth it
_GUESSED = 0.05  # of the ports: of a flow with fewer TIME_WAITs nobody asks whose it was
_FULL = 0.9  # of the ports: where nothing new is seen because there is no room for it
_MOST_GUESSES = 3


class Waits:
    """All TIME_WAITs of one look, by what they belong to."""

    def __init__(self) -> None:
        self.outgoing: Counter[Ends] = Counter()
        self.in_range: Counter[Ends] = Counter()  # of these, with a port that connect() would take
        self.young: Counter[Ends] = Counter()  # of these, younger than a second
        self.fresh: Counter[Ends] = Counter()  # not there at the first look
        self.incoming = 0
        self.cookies: set[int] = set()


def look(seconds: float = 1.0, pause: Callable[[float], None] = time.sleep) -> Facts:
    """Raises OSError where nothing tells of sockets."""
    was_collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of tuples for a second, none of them in a circle
    lister = chosen()
    try:
        return Watch(lister, pause).facts(seconds)
    finally:
        lister.close()
        if was_collecting:
            gc.enable()


def chosen() -> Lister:
    """sock_diag, or where it is refused /proc/net/tcp."""
    try:
        diag = Diag()
    except OSError as error:  # seccomp, RestrictAddressFamilies, a kernel that has none
        return ProcNet(error.strerror or str(error))
    try:
        diag.listening()
    except OSError as error:  # without the module tcp_diag
        diag.close()
        return ProcNet(error.strerror or str(error))
    return diag


class Watch:
    """One examination."""

    def __init__(self, lister: Lister, pause: Callable[[float], None]) -> None:
        self._lister = lister
        self._pause = pause
        self._family = proc.ancestors(os.getpid())  # their command lines name what we were asked for
        self._settings = proc.settings()
        self._ports = Ports.read(self._settings)
        self._listening = lister.listening()
        self._served = {each.local_port for each in self._listening}
        # Local ports of what this side has opened, as the kernel writes them.
        ports = set(range(self._ports.low, self._ports.high + 1)) - self._ports.reserved - self._served
        self._inside = {port.to_bytes(2, "big") for port in ports}
        self._ends: dict[tuple[int, bytes], Ends] = {}
        self._seen: dict[int, Socket] = {}  # cookie -> what is new since the first look
        self._first: dict[int, Socket] = {}
        self._holder_of: dict[int, int] = {}  # inode -> pid
        self._had: dict[int, frozenset[int]] = {}  # pid -> inodes, a glance ago
        self._came: dict[int, set[int]] = defaultdict(set)  # pid -> inodes that came into its hands
        self._listed: set[int] = set()  # inodes that were in a list
        self._matched: Counter[tuple[int, Ends]] = Counter()  # pid and flow -> the most in its hands
        self._names: dict[int, tuple[str, str]] = {}  # pid -> its name and user
        self._open: dict[Ends, list[int]] = defaultdict(list)
        self._busy: dict[Ends, list[int]] = defaultdict(list)
        self._hidden = 0
        self._held: dict[int, Held] = {}
        self._lists = 0
        self.elapsed = 0.0  # seconds between the two looks

    def facts(self, seconds: float) -> Facts:
        self._first = {each.cookie: each for each in self._glance()}
        self._seen.clear()  # all of it is the first look's
        start, before = time.monotonic(), proc.counters()
        first = self._waits(None)
        self._glances(start + seconds, first)
        live = self._glance()
        self.elapsed = max(time.monotonic() - start, 1e-6)
        after = proc.counters()
        waits = self._waits(first.cookies)
        # What has closed since the list was made is in both.
        live = [each for each in live if each.cookie not in waits.cookies]
        return Facts(
            flows=self._flows(live, first, waits),
            listeners=self._listeners(self._lister.listening()),
            processes=self._processes(),
            settings=self._settings,
            counters=after,
            growth=proc.grown(before, after),
            sight=self._sight(live),
            incoming=waits.incoming + sum(1 for each in live if not self._is_outgoing(each)),
            time_waits=len(waits.cookies),
        )

    # -- looking --------------------------------------------------------------------------------------------

    def _glances(self, until: float, first: Waits) -> None:
        crowded = [at for at, number in first.in_range.items() if number > _CROWDED * self._ports.size]
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            self._glance()
            is_found = all(any(at == place for _, at in self._matched) for place in crowded)
            while not is_found and time.monotonic() - began < _SEARCH:
                self._look_at_hands()
            cost = time.monotonic() - began
            share = _SHARE if is_found else _SEARCHING
            self._pause(max(0.0, min(left - cost, max(_PAUSE, cost / share - cost))))

    def _glance(self) -> list[Socket]:
        """Lists, hands, lists again: whose socket lived through one of these two moments has been found."""
        began = time.monotonic()
        live = self._list()
        is_dear = time.monotonic() - began > _DEAR
        self._look_at_hands()
        self._listed.update([each.inode for each in live])
        if not is_dear:
            self._listed.update([each.inode for each in self._list()])
        for pid, now in self._held.items():
            if mine := now.sockets & self._listed:
                self._named_pid(pid)  # as long as it is there
                self._holder_of.update(dict.fromkeys(mine, pid))
        counts = Counter(
            (self._holder_of[each.inode], self._of(each))
            for each in live
            if each.inode in self._holder_of and self._is_outgoing(each)
        )
        for key, number in counts.items():
            self._matched[key] = max(self._matched[key], number)
        return live

    def _look_at_hands(self) -> None:
        self._held, self._hidden = proc.held(os.getpid())
        for pid, now in self._held.items():
            self._came[pid] |= now.sockets - self._had.get(pid, now.sockets)
            self._had[pid] = now.sockets

    def _list(self) -> list[Socket]:
        live = self._lister.live()
        counts: Counter[Ends] = Counter()
        busy: Counter[Ends] = Counter()
        for each in live:
            if each.cookie not in self._first:
                self._seen[each.cookie] = each
            if each.state == "ESTABLISHED" and self._is_outgoing(each):
                place = self._of(each)
                counts[place] += 1
                busy[place] += each.is_busy
        self._lists += 1
        for place, number in counts.items():
            self._open[place].append(number)
            self._busy[place].append(busy[place])
        return live

    def _waits(self, before: set[int] | None) -> Waits:
        """`before`: the cookies of the first look; None: this is it. 100,000 of them are usual where
        something is wrong: what is done for each is done by comprehensions."""
        found = Waits()
        inside = self._inside
        for family, listed in self._lister.time_waits():
            mine = [each for each in listed if each[1] in inside]
            in_range = Counter([each[2] for each in mine])
            self._name(family, in_range, found.in_range)
            if before is not None:
                self._name(family, Counter([each[2] for each in mine if each[4] > _YOUNG_MS]), found.young)
            if len(mine) < len(listed):
                mine += [each for each in listed if each[1] not in inside and self._is_client(each)]
            found.incoming += len(listed) - len(mine)
            found.cookies.update([each[3] for each in listed])
            outgoing = Counter([each[2] for each in mine]) if len(mine) > in_range.total() else in_range
            self._name(family, outgoing, found.outgoing)
            if before is not None:
                self._name(family, Counter([each[2] for each in mine if each[3] not in before]), found.fresh)
        return found

    def _is_client(self, each: TimeWait) -> bool:
        """Of those whose port is none that connect() takes: see _is_outgoing()."""
        port = int.from_bytes(each[1], "big")
        return port not in self._served and int.from_bytes(each[2][:2], "big") not in self._ports

    def _name(self, family: int, raw: Counter[bytes], named: Counter[Ends]) -> None:
        for key, number in raw.items():
            named[self._named(family, key)] += number

    def _is_outgoing(self, each: Socket) -> bool:
        """Nobody listens on its port here; of one that did, its port is not one that connect() takes."""
        if each.local_port in self._served:
            return False
        return each.local_port in self._ports or int.from_bytes(each.key[:2], "big") not in self._ports

    def _of(self, each: Socket) -> Ends:
        return self._named(each.family, each.key)

    def _named(self, family: int, key: bytes) -> Ends:
        name = self._ends.get((family, key))
        if name is None:
            name = self._ends[family, key] = ends(family, key)
        return name

    # -- telling --------------------------------------------------------------------------------------------

    def _flows(self, live: list[Socket], first: Waits, waits: Waits) -> tuple[Flow, ...]:
        mine: dict[Ends, list[Socket]] = defaultdict(list)
        for each in live:
            if self._is_outgoing(each):
                mine[self._of(each)].append(each)
        passed: dict[Ends, list[Socket]] = defaultdict(list)  # new ones, also those that have gone again
        for each in self._seen.values():
            if self._is_outgoing(each):
                passed[self._of(each)].append(each)
        were_open = [each for cookie, each in self._first.items() if cookie not in first.cookies]
        before = Counter(first.in_range)
        before.update(self._of(each) for each in were_open if self._takes_a_port(each))
        # In TIME_WAIT now: closed meanwhile, and not opened.
        closed = Counter(self._of(each) for each in were_open if each.cookie in waits.cookies)
        waits.fresh.subtract(closed)
        places = {*mine, *passed, *waits.outgoing}
        return tuple(
            self._flow(place, mine[place], passed[place], waits, (before[place], closed[place]))
            for place in places
        )

    def _takes_a_port(self, each: Socket) -> bool:
        return self._is_outgoing(each) and each.local_port in self._ports

    def _flow(
        self,
        place: Ends,
        live: list[Socket],
        passed: list[Socket],
        waits: Waits,
        before: tuple[int, int],
    ) -> Flow:
        """`before`: how many ports it had, and how many that were open have closed since."""
        states = Counter(each.state for each in live)
        if waits.outgoing[place]:
            states["TIME_WAIT"] = waits.outgoing[place]
        ports = waits.in_range[place] + sum(1 for each in live if each.local_port in self._ports)
        # In TIME_WAIT by now, or still alive, or seen and gone without a trace.
        unwaited = sum(1 for each in passed if each.cookie not in waits.cookies)
        lived = [(each, self._first[each.cookie]) for each in live if each.cookie in self._first]
        established = [each for each in live if each.state == "ESTABLISHED"]
        ports_before, closed = before
        elapsed = self.elapsed
        counts, busy = self._open.get(place, [0]), self._busy.get(place, [0])
        return Flow(
            source=place.source,
            host=place.host,
            port=place.port,
            states=dict(states),
            ports=ports,
            young=waits.young[place],
            opened=(unwaited + waits.fresh[place]) / elapsed,
            timed=(waits.fresh[place] + closed) / elapsed,
            growth=(ports - ports_before) / elapsed,
            open_mean=sum(counts) / self._lists,
            open_most=max(counts),
            busy_mean=sum(busy) / self._lists,
            busy_most=max(busy),
            sent=sum(max(0, now.sent - then.sent) for now, then in lived) / elapsed,
            rtt=sum(each.rtt for each in established) / len(established) / 1e6 if established else 0.0,
            unanswered=sum(each.is_unanswered for each in live),
            retransmitted=sum(max(0, now.retransmitted - then.retransmitted) for now, then in lived),
            users=self._users([*live, *passed]),
            holders=self._holders(place, passed) or self._guessed(place, waits),
        )

    @staticmethod
    def _users(found: Iterable[Socket]) -> dict[str, int]:
        counts = Counter(each.uid for each in {each.cookie: each for each in found if each.inode}.values())
        return {proc.user_of(uid): number for uid, number in counts.most_common(5)}

    def _holders(self, place: Ends, passed: list[Socket]) -> tuple[Holder, ...]:
        holds = {pid: number for (pid, at), number in self._matched.items() if at == place}
        opened = Counter(self._holder_of[each.inode] for each in passed if each.inode in self._holder_of)
        ranked = sorted({*holds, *opened}, key=lambda pid: (-opened[pid], -holds.get(pid, 0), pid))
        return tuple(Holder(pid, *self._named_pid(pid), holds.get(pid, 0), opened[pid]) for pid in ranked)

    def _guessed(self, place: Ends, waits: Waits) -> tuple[Holder, ...]:
        """In whose hands sockets came and went that were in no list, or who was told of the remote."""
        share = waits.in_range[place] / self._ports.size
        if share < _GUESSED or (share < _FULL and not waits.fresh[place]):
            return ()  # of what has ended nobody knows: whoever it was may have ended, too
        listening = {each.inode for each in self._listening if each.local_port == place.port}
        found = []
        for pid, held in self._held.items():
            if held.sockets & listening or pid in self._family or proc.is_elsewhere(pid):
                continue
            unmatched = len(self._came[pid] - self._listed)
            is_told = proc.is_told_of(pid, place.host)
            reasons = [f"names {place.host} in its command line or environment"] if is_told else []
            if unmatched:
                reasons.append(
                    f"sockets came and went in its hands ({unmatched:,} seen), too briefly to be listed"
                )
            if reasons:
                found.append((-is_told, -unmatched, pid, "; ".join(reasons)))
        return tuple(
            Holder(pid, *self._named_pid(pid), guess=reason)
            for _, _, pid, reason in sorted(found)[:_MOST_GUESSES]
        )

    def _named_pid(self, pid: int) -> tuple[str, str]:
        if pid not in self._names:
            self._names[pid] = (proc.name_of(pid), proc.owner_of(pid))
        return self._names[pid]

    def _listeners(self, listening: list[Socket]) -> tuple[Listener, ...]:
        before = {each.cookie: each.dropped for each in self._listening}
        return tuple(
            Listener(
                host=address(each.family, each.key[2:18]),
                port=each.local_port,
                queue=each.queue,
                backlog=each.backlog,
                dropped=each.dropped,
                dropped_now=each.dropped - before.get(each.cookie, each.dropped),
                holders=self._holders_of_inode(each.inode),
            )
            for each in listening
        )

    def _holders_of_inode(self, inode: int) -> tuple[Holder, ...]:
        pids = sorted(pid for pid, held in self._held.items() if inode in held.sockets)
        return tuple(Holder(pid, *self._named_pid(pid), 1) for pid in pids)

    def _processes(self) -> tuple[Process, ...]:
        """Those that have sockets."""
        return tuple(
            Process(pid, *self._named_pid(pid), held.descriptors, proc.descriptor_limit(pid))
            for pid, held in sorted(self._held.items())
            if held.sockets
        )

    def _sight(self, live: list[Socket]) -> Sight:
        stayed = [each for each in live if each.inode and each.cookie in self._first]
        return Sight(
            is_root=os.geteuid() == 0,
            processes=len(self._held),
            hidden=self._hidden,
            unowned=sum(1 for each in stayed if each.inode not in self._holder_of),
            namespaces=proc.other_namespaces(pid for pid, held in self._held.items() if held.descriptors),
            lists=self._lists,
            seconds=self.elapsed,
            by=self._lister.by,
            refused=self._lister.refused,
        )
