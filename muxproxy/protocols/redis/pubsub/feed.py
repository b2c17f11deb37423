"""Pub/Sub fan-in: all clients of one RESP version and user listen over one connection, each channel once.

A channel is subscribed with its first listener, one command for each, so that a server's error belongs to
exactly one of them, and left with its last. A client's request is answered when all its channels are
acknowledged, whole and in its order; only then it joins, so no message comes before the acknowledgement.

    _channels   what we are subscribed to, or have asked to be
    _owed       what the server still has to say to our commands, oldest first: each one acknowledgement, or
                an error, for servers do one command after the other
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from muxproxy.protocols import contract
from muxproxy.protocols.contract import Frame
from muxproxy.protocols.redis.pubsub.listening import (
    CHANNEL,
    PATTERN,
    SHARD,
    VERBS,
    Listener,
    Listening,
    Request,
)

_SUBSCRIBE = (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE")
_UNSUBSCRIBE = (b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE")
# How their commands for one name begin; by kind, and whether it is left or joined.
_HEADS = [
    tuple(b"*2\r\n$%d\r\n%b\r\n" % (len(word), word) for word in words)
    for words in zip(_UNSUBSCRIBE, _SUBSCRIBE, strict=True)
]
# How messages begin behind their first four bytes, and the kind of what follows.
_MESSAGE = b"$7\r\nmessage\r\n$"
_PMESSAGE = b"$8\r\npmessage\r\n$"
_SMESSAGE = b"$8\r\nsmessage\r\n$"
_SUNSUBSCRIBE = b"$12\r\nsunsubscribe\r\n$"
_PROBE = b"muxproxy-probe"  # a channel that nobody listens to
_MOVED = b"-ERR muxproxy: the slot of a channel has moved to another server, ask CLUSTER SLOTS\r\n"
# Names that are looked at in one turn of the loop (P10): some 5 ms. What is more goes on in the next ones.
NAMES = 2048
_NOBODY: tuple[Listener, ...] = ()


class _Channel:
    """`listeners` are sessions in the order in which they joined; `shown` the same as a tuple, made when a
    message needs it after a change."""

    __slots__ = ("is_live", "kind", "listeners", "name", "shown", "waiters")

    def __init__(self, kind: int, name: bytes) -> None:
        self.kind = kind
        self.name = name
        self.is_live = False  # the server has acknowledged it
        self.listeners: dict[Listener, None] = {}
        self.shown: tuple[Listener, ...] | None = _NOBODY
        self.waiters: dict[Request, None] = {}  # requests that are to join it

    def join(self, session: Listener) -> None:
        self.listeners[session] = None
        self.shown = None

    def leave(self, session: Listener) -> None:
        if session in self.listeners:
            del self.listeners[session]
            self.shown = None


class PubSub(contract.Feed):
    __slots__ = ("_answered", "_channels", "_jobs", "_listeners", "_out", "_owed", "gaps", "messages")

    def __init__(self) -> None:
        self._channels: tuple[dict[bytes, _Channel], ...] = ({}, {}, {})
        self._owed: deque[tuple[_Channel, bool]] = deque()  # and: was it asked for, or left
        self._answered: list[tuple[Listener, bytes]] = []
        self._listeners: dict[Listener, None] = {}  # who listens or asks
        self._out: list[bytes] = []  # commands that this call makes
        self._jobs: deque[Iterator[None]] = deque()  # of many names, each to be gone on with
        self.messages = 0
        self.gaps = 0

    # -- what clients ask ------------------------------------------------------------------------------

    def on_request(self, listener: Listener, frame: Frame) -> bytes:
        request: Request = frame.note
        listening = listener.subscriptions
        assert listening is not None
        self._listeners[listener] = None
        verb = VERBS.get(request.command.name)
        if verb is not None and verb[1]:
            request.waiting += 1  # for this itself
            self._begin(self._await_all(request, listening, verb[0]))
        request.is_told = True
        self._advance(listening)
        return self.flush()

    @property
    def more(self) -> bool:
        return len(self._jobs) > 0

    def go_on(self) -> bytes:
        self._begin(self._jobs.popleft())
        return self.flush()

    def _begin(self, job: Iterator[None]) -> None:
        """A turn's share of it; the rest stands behind others."""
        for _ in job:
            self._jobs.append(job)
            return

    def _await_all(self, request: Request, listening: Listening, kind: int) -> Iterator[None]:
        for names in _parts(dict.fromkeys(request.names)):
            for name in names:
                self._await(request, kind, name)
            if len(names) == NAMES:
                yield
                if request not in listening.requests:
                    return  # it was refused meanwhile, or its client is gone
        request.waiting -= 1
        if request.is_told:  # else it is not over yet
            self._advance(listening)

    def _await(self, request: Request, kind: int, name: bytes) -> None:
        channels = self._channels[kind]
        channel = channels.get(name)
        if channel is None:
            channel = channels[name] = _Channel(kind, name)
            self._say(channel, True)
        channel.waiters[request] = None
        if not channel.is_live:
            request.waiting += 1

    def _say(self, channel: _Channel, joins: bool) -> None:
        name = channel.name
        self._out.append(b"%b$%d\r\n%b\r\n" % (_HEADS[channel.kind][joins], len(name), name))
        self._owed.append((channel, joins))

    def flush(self) -> bytes:
        """Bytes for the server that came of on_push."""
        out, self._out = self._out, []
        return b"".join(out)

    def _advance(self, listening: Listening) -> None:
        """Answer what can be answered: one after the other, as a server does it."""
        requests = listening.requests
        while requests and requests[0].is_told and not requests[0].waiting:
            request = requests[0]
            verb = VERBS.get(request.command.name)
            if verb is None or not verb[1]:
                request.waiting = 1  # for this itself
                self._begin(self._part_all(request, listening))
                if request.waiting:
                    return
                continue
            requests.popleft()
            self._answered.append((listening.session, self._join(request, listening, verb[0])))
        self._maybe_forget(listening)
        if not requests:
            listening.settle()

    def _part_all(self, request: Request, listening: Listening) -> Iterator[None]:
        """(P|S)UNSUBSCRIBE, or RESET."""
        verb = VERBS.get(request.command.name)
        replies = []
        is_late = False
        for kind in (CHANNEL, PATTERN, SHARD) if verb is None else verb[:1]:
            joined = listening.joined[kind]
            for names in _parts(request.names or list(joined)):
                for name in names:
                    if name in joined:
                        self._part(listening, kind, name)
                    if verb is not None:
                        replies.append(listening.acknowledge(request, kind, name))
                if len(names) == NAMES:
                    is_late = True
                    yield
                    if request not in listening.requests:
                        return
        if verb is None:
            replies.append(b"+RESET\r\n")
        elif not replies:
            replies.append(listening.acknowledge(request, verb[0], None))
        listening.requests.popleft()
        request.waiting = 0
        self._answered.append((listening.session, b"".join(replies)))
        if is_late:  # else it is _advance that asks
            self._advance(listening)

    def _join(self, request: Request, listening: Listening, kind: int) -> bytes:
        joined = listening.joined[kind]
        replies = []
        for name in request.names:
            channel = self._channels[kind].get(name)
            if channel is None:
                listening.failed = True
                continue  # the server refused it
            channel.waiters.pop(request, None)
            if not channel.waiters:
                channel.waiters = {}  # one that was not empty keeps its room
            if request.error:
                listening.failed = True
                self._maybe_drop(channel)
            else:
                channel.join(listening.session)
                joined[name] = None
                replies.append(listening.acknowledge(request, kind, name))
        if request.error:
            return b"" if request.mute else request.error
        return b"".join(replies)

    def _part(self, listening: Listening, kind: int, name: bytes) -> None:
        del listening.joined[kind][name]
        channel = self._channels[kind].get(name)
        if channel is not None:
            channel.leave(listening.session)
            self._maybe_drop(channel)

    def _maybe_drop(self, channel: _Channel) -> None:
        if not channel.listeners and not channel.waiters:
            channels = self._channels[channel.kind]
            if channels.get(channel.name) is channel:
                del channels[channel.name]
                self._say(channel, False)

    def cancel(self, listener: Listener) -> bytes:
        listening = listener.subscriptions
        assert listening is not None
        for request in [request for request in listening.requests if request.is_told]:
            self._give_up(request, request.names)
            listening.take_back(request)
        self._maybe_forget(listening)
        return self.flush()

    def _maybe_forget(self, listening: Listening) -> None:
        """A request that is held behind others counts from on_request on: refused before, it is not told."""
        if not any(listening.joined) and not any(request.is_told for request in listening.requests):
            self._listeners.pop(listening.session, None)

    def _give_up(self, request: Request, names: list[bytes]) -> None:
        """What it waited for joins nobody."""
        kind = VERBS.get(request.command.name, (CHANNEL, False))[0]
        for name in names:
            channel = self._channels[kind].get(name)
            if channel is not None and request in channel.waiters:
                del channel.waiters[request]
                self._maybe_drop(channel)

    def leave(self, listener: Listener) -> bytes:
        listening = listener.subscriptions
        self._listeners.pop(listener, None)
        if listening is None:
            return b""
        asked = list(listening.requests)
        listening.requests.clear()
        listener.subscriptions = None  # or each would hold the other, until a collection
        listener.on_listening()
        self._begin(self._part_late(listening, asked))
        return self.flush()

    def _part_late(self, listening: Listening, asked: list[Request]) -> Iterator[None]:
        """Of one that is gone: what comes for it until then finds nobody."""
        for request in asked:
            for names in _parts(request.names):
                self._give_up(request, names)
                if len(names) == NAMES:
                    yield
        for kind in (CHANNEL, PATTERN, SHARD):
            for names in _parts(list(listening.joined[kind])):
                for name in names:
                    if name in listening.joined[kind]:
                        self._part(listening, kind, name)
                if len(names) == NAMES:
                    yield

    def take(self) -> Sequence[tuple[Listener, bytes]]:
        answered = self._answered
        if answered:
            self._answered = []
        return answered

    # -- what the server says --------------------------------------------------------------------------

    def on_push(self, frame: Frame) -> tuple[bytes, Sequence[Listener]]:
        data = frame.data
        if data.startswith(_MESSAGE, 4):
            channels, start = self._channels[CHANNEL], 18
        elif data.startswith(_PMESSAGE, 4):
            channels, start = self._channels[PATTERN], 19
        elif data.startswith(_SMESSAGE, 4):
            channels, start = self._channels[SHARD], 19
        else:
            return self._on_other(data)
        end = data.find(b"\r\n", start)
        size = max(0, int(data[start:end]))
        channel = channels.get(data[end + 2 : end + 2 + size])
        self.messages += 1
        if channel is None:
            return data, _NOBODY  # left, and this was on its way
        shown = channel.shown
        if shown is None:
            shown = channel.shown = tuple(channel.listeners)
        # Larger than subscriber_buffer, it was skipped: whoever should have had it is too far behind.
        return (data if frame.note is None else b""), shown

    def _on_other(self, data: bytes) -> tuple[bytes, Sequence[Listener]]:
        if data.startswith(b"-"):
            return self._on_answer(data)
        if data.startswith(_SUNSUBSCRIBE, 4) and not self._is_due(data):
            return self._on_moved(data)
        if self._owed and self._is_due(data):
            return self._on_answer(b"")
        return data, _NOBODY  # pong, or what a later Redis may push

    def _is_due(self, data: bytes) -> bool:
        """Is this the acknowledgement that the server owes next?"""
        if not self._owed:
            return False
        channel, joins = self._owed[0]
        verb = (_SUBSCRIBE if joins else _UNSUBSCRIBE)[channel.kind].lower()
        head = b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(verb), verb, len(channel.name), channel.name)
        return data.startswith(head, 4)

    def _on_answer(self, error: bytes) -> tuple[bytes, Sequence[Listener]]:
        """b"": acknowledged."""
        if not self._owed:
            return b"", _NOBODY
        channel, joins = self._owed.popleft()
        if not joins:
            return b"", _NOBODY
        # What is left is no longer in the table, though another of its name may be: its turn comes.
        waiters, was_live = list(channel.waiters), channel.is_live
        channel.is_live = not error
        if error and self._channels[channel.kind].get(channel.name) is channel:
            del self._channels[channel.kind][channel.name]
        for request in waiters:
            if error:
                request.error = request.error or error
                del channel.waiters[request]
            if not was_live and request.waiting:
                request.waiting -= 1
                if not request.waiting:
                    listening = request.session.subscriptions
                    if listening is not None:  # else it is gone
                        self._advance(listening)
        if error and channel.listeners:  # restored in vain: they are cut, for they believe that they listen
            return b"", tuple(channel.listeners)
        return b"", _NOBODY

    def _on_moved(self, data: bytes) -> tuple[bytes, Sequence[Listener]]:
        """A slot went to another node, and its shard channels with it: listeners are told in Redis' words."""
        start = 4 + len(_SUNSUBSCRIBE)
        end = data.find(b"\r\n", start)
        channel = self._channels[SHARD].pop(data[end + 2 : end + 2 + max(0, int(data[start:end]))], None)
        if channel is None:
            return b"", _NOBODY
        for request in channel.waiters:
            request.error = request.error or _MOVED
        for session in channel.listeners:
            listening = session.subscriptions
            if listening is None:
                continue  # it is gone, and has not been taken off everywhere
            del listening.joined[SHARD][channel.name]
            listening.failed = True
            self._advance(listening)
        return data, tuple(channel.listeners)

    # -- connections -----------------------------------------------------------------------------------

    def restore(self) -> bytes:
        self._owed.clear()
        self._out.clear()
        everything = [channel for channels in self._channels for channel in channels.values()]
        self.gaps += any(channel.is_live for channel in everything)
        for channel in everything:
            if channel.is_live:
                channel.is_live = False
                for request in channel.waiters:  # it counted on the old connection
                    request.waiting += 1
            self._say(channel, True)
        return self.flush()

    def probe(self) -> bytes:
        """Not PING, whose answer is a push in RESP2 only and only while subscribed."""
        name = _PROBE
        while name in self._channels[CHANNEL]:
            name += b"-"
        self._say(_Channel(CHANNEL, name), False)
        return self.flush()

    def is_empty(self) -> bool:
        return not (self._listeners or self._jobs)

    def statistics(self) -> dict[str, int]:
        channels, patterns, shards = self._channels
        return {
            "channels": len(channels) + len(shards),
            "patterns": len(patterns),
            "subscribers": len(self._listeners),
            "messages": self.messages,
            "gaps": self.gaps,
        }


def _parts(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    """So many names as are looked at in one turn, each time."""
    left = iter(names)
    while part := list(islice(left, NAMES)):
        yield part
