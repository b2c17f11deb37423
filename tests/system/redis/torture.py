"""2,000 Redis clients in one process, and a judge of every reply (the child of `test_torture.py`).

Client n lives in db n % 4 and speaks RESP 2 or 3; four clients, one in each db, use the same key names. Every
value says whose it is, in which db and under which key, and the how many-th write it was: a command that ran
in another's db or a reply that went to another client is seen at once. `steps.py` says what they do.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import hiredis
import uvloop

from tests.system.process import raise_descriptor_limit, say, take_orders
from tests.system.redis.steps import Batch, Command, Keeper, LostError, Script, pick, set_up

# How a command can end.
RIGHT = "right"
REFUSED = "refused"  # an error that muxproxy made itself, or the server's -LOADING
WRONG = "wrong"  # any other reply
CLOSED = "closed"  # the connection ended first
ORPHANED = "orphaned"  # the same in the middle of MULTI or WATCH, as when the server closes that connection,
# or as a user whose password is not good any more
TIMEOUT = "timeout"
LOOKS_UP = 0.05  # seconds after which who writes all before it reads looks whether all is written


@dataclass
class Plan:
    host: str
    port: int
    clients: int
    first: int = 0  # the number of the first client
    patience: float = 60.0  # seconds without the reply that is due: a busy machine took 30
    seed: int = 1
    users: bool = False  # each is one of the server's users (steps.py), and gives wrong passwords at times


@dataclass
class Results:
    outcomes: dict[str, int] = field(default_factory=dict)
    commands: int = 0  # sent
    # Per connection: when it was asked for (time.monotonic), and the exchanges that were begun on it. A
    # transaction that is sent whole is one exchange.
    connections: list[tuple[float, int]] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)  # text -> number
    examples: list[str] = field(default_factory=list)  # of what is wrong

    def add(self, other: Results) -> None:
        self.outcomes = dict(Counter(self.outcomes) + Counter(other.outcomes))
        self.refusals = dict(Counter(self.refusals) + Counter(other.refusals))
        self.commands += other.commands
        self.connections += other.connections
        self.examples += other.examples


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.commands = 0
        self.target = 0
        self.busy = 0  # clients that have not come to the end of their last step
        self.connections: list[tuple[float, int]] = []
        self.examples: list[str] = []
        numbers = range(plan.first, plan.first + plan.clients)
        self.clients = [Client(self, number, users=plan.users) for number in numbers]
        self.idle = asyncio.Event()

    @property
    def goes_on(self) -> bool:
        return self.commands < self.target

    def go(self, commands: int) -> None:
        self.target = self.commands + commands
        self.idle.clear()
        self.busy = len(self.clients)
        for client in self.clients:
            client.begin()

    def rests(self) -> None:
        self.busy -= 1
        if self.busy == 0:
            self.idle.set()

    def note(self, example: str) -> None:
        if len(self.examples) < 10:
            self.examples.append(example[:1000])

    def results(self) -> Results:
        connections = self.connections + [
            (one.opened, one.exchanges) for one in self.clients if one.transport
        ]
        outcomes = dict(self.outcomes)
        return Results(outcomes, self.commands, connections, dict(self.refusals), self.examples)

    def watch(self) -> None:
        """Ends the wait of who waits too long; asked once a second."""
        due = time.monotonic() - self.plan.patience
        for client in self.clients:
            if client.due and client.since < due:
                self.note(f"client {client.keeper.number} waits for {client.due[0].data[:200]!r}")
                client.fail(TIMEOUT)


class Client(asyncio.Protocol):
    """One connection at a time; a new one when it was lost and there is more to do."""

    def __init__(self, world: World, number: int, *, users: bool) -> None:
        self.world = world
        self.keeper = Keeper(number, users=users)
        self.transport: asyncio.Transport | None = None
        self.reader = hiredis.Reader()
        self.script: Script | None = None
        self.connecting: asyncio.Future[None] | None = None
        self.resting = True
        self.due: list[Command] = []  # of the batch that is under way
        self.got: list[Any] = []
        self.since = 0.0
        self.opened = 0.0
        self.exchanges = 0

    def begin(self) -> None:
        self.resting = False
        if self.transport is None:
            self.connecting = asyncio.ensure_future(self.connect())
        else:
            self.next()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.opened = time.monotonic()
            with suppress(OSError):
                await loop.create_connection(lambda: self, self.world.plan.host, self.world.plan.port)
                return
            await asyncio.sleep(0.02)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.reader = hiredis.Reader()
        self.exchanges = 0
        self.script = set_up(self.keeper)
        self.send(next(self.script))

    def next(self) -> None:
        """Go on with the script; where it ends, begin another or rest."""
        if self.script is not None:
            try:
                self.send(self.script.send(self.got))
                return
            except StopIteration:
                self.script = None
            except LostError:
                self.abort()
                return
        if self.world.goes_on:
            self.script = pick(self.keeper, self.world.random)
            self.send(next(self.script))
        else:
            self.resting = True
            self.world.rests()

    def send(self, batch: Batch) -> None:
        assert self.transport is not None
        self.due, self.got = batch.commands, []
        self.since = time.monotonic()
        self.exchanges += batch.exchanges
        self.world.commands += len(self.due)
        if batch.reads_after:
            self.transport.pause_reading()
        self.transport.write(b"".join([command.data for command in self.due]))
        if batch.reads_after:
            asyncio.get_running_loop().call_later(LOOKS_UP, self.read_on, self.transport)

    def read_on(self, transport: asyncio.Transport) -> None:
        """When all is written, and not before."""
        if transport.is_closing():
            return
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LOOKS_UP, self.read_on, transport)
        else:
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        try:
            while (reply := self.reader.gets()) is not False:
                self.take(reply)
        except hiredis.ProtocolError as error:
            self.world.note(f"client {self.keeper.number}: {error}: {data[:300]!r}")
            self.fail(WRONG)

    def take(self, reply: Any) -> None:
        number = len(self.got)
        if number >= len(self.due):
            self.world.note(f"client {self.keeper.number}: nobody asked for {reply!r}")
            self.fail(WRONG)
            return
        command = self.due[number]
        self.got.append(reply)
        self.judge(command, reply)
        if len(self.got) == len(self.due):
            self.due = []
            self.next()

    def judge(self, command: Command, reply: Any) -> None:
        world = self.world
        if isinstance(reply, hiredis.ReplyError) and is_refusal(str(reply)):
            world.outcomes[REFUSED] += 1
            world.refusals[str(reply)[:100]] += 1
            self.keeper.clean = False
            command.unsure()
        elif command.check(reply):
            world.outcomes[RIGHT] += 1
        else:
            world.outcomes[WRONG] += 1
            command.unsure()
            world.note(f"client {self.keeper.number}: {command.data[:300]!r} was answered {reply!r}")

    def fail(self, outcome: str) -> None:
        """What is due has ended so, and the connection with it."""
        lost, self.due = self.due[len(self.got) :], []
        for command in lost:
            command.unsure()
        self.world.outcomes[outcome] += len(lost)
        self.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.world.connections.append((self.opened, self.exchanges))
        self.transport = self.script = None
        if self.due:
            self.world.note(
                f"client {self.keeper.number} closed after {self.got}: {self.due[0].data!r} {exc}"
            )
        self.fail(ORPHANED if self.keeper.pinned else CLOSED)
        if not self.resting:
            self.connecting = asyncio.ensure_future(self.connect())


def is_refusal(text: str) -> bool:
    return "muxproxy" in text or text.startswith("LOADING ")


async def work(plan: Plan) -> None:
    """Orders: a number of commands. Answer: the results so far, when all clients rest."""
    world = World(plan)
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(0, lambda: orders.put_nowait(sys.stdin.buffer.readline()))
    say("ready")
    while order := await orders.get():
        world.go(int(order))
        while not world.idle.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(world.idle.wait(), 1.0)
            world.watch()
        say(asdict(world.results()))
    for client in world.clients:
        if client.transport is not None:
            client.transport.abort()


def main() -> None:
    plan = Plan(**take_orders())
    raise_descriptor_limit()
    uvloop.run(work(plan))


if __name__ == "__main__":
    main()
