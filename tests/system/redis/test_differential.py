"""Random conversations of two clients, direct and through muxproxy: the same replies (Hypothesis).

The same 200 examples at every run; a full one (tests/sizes.py) looks for 20,000 others, or for as many as
MUXPROXY_EXAMPLES says. What is not compared is said in `differential.py`. Not asked at all, because the
answer is about time, chance, the process or the connection that muxproxy has instead of the client: TIME,
INFO, CLIENT LIST, CLIENT INFO, RANDOMKEY, SPOP, PTTL, SCAN's cursors; KEYS and SMEMBERS of several (the order
of a hash table); blocking without data; PUBSUB NUMSUB (counts connections); CLIENT SETINFO and NO-TOUCH
(muxproxy knows what Redis 7.0 does not); commands that are refused by default; a PING of more than 64 KiB,
which muxproxy does not know how to answer to a subscribed RESP2 client.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.sizes import is_full, size
from tests.system.redis.differential import Action, Conversation, DifferenceError, act
from tests.system.redis.proxied import Pair
from tests.system.redis.wire import Word, command

SETTINGS = settings(
    max_examples=int(os.environ.get("MUXPROXY_EXAMPLES") or size(120, 20_000)),
    derandomize=not is_full(),
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),  # they judge the machine and the size of a play, not the law
)

keys = st.sampled_from(["a", "b", "c"])
values = st.sampled_from(["1", "2.5", "text", "", b"\x00\r\n$5\r\n", b"x" * 100_000])
clients = st.integers(0, 1)
channels = st.sampled_from(["one", "two"])
patterns = st.sampled_from(["o*", "t?o", "[", "*"])
dbs = st.sampled_from([0, 1, 2, 3, 15, 16, -1, "x"])


def words(*parts: st.SearchStrategy[Word] | Word) -> st.SearchStrategy[tuple[Word, ...]]:
    return st.tuples(*(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts))


SCRIPT = (
    "return {1, {2, 'two'}, false, redis.error_reply('MINE no'), {ok='fine'}, redis.call('GET', KEYS[1])}"
)
# One reply each, whatever the state: commands that need no connection of their own.
plain = st.one_of(
    words("SET", keys, values),
    words("GET", keys),
    words("get", keys),
    words("SET", keys, values, "NX", "GET"),
    words("INCR", keys),
    words("APPEND", keys, values),
    words("MGET", keys, keys, "nothing"),
    words("MSET", keys, values, keys, values),
    words("DEL", keys, keys),
    words("EXISTS", keys, keys),
    words("RENAME", keys, keys),
    words("TYPE", keys),
    words("OBJECT", "ENCODING", keys),
    words("LPUSH", keys, values, values),
    words("RPUSH", keys, values),
    words("LRANGE", keys, 0, -1),
    words("LPOP", keys, st.integers(0, 3)),
    words("RPOPLPUSH", keys, keys),
    words("LMOVE", keys, keys, "LEFT", "RIGHT"),
    words("HSET", keys, st.integers(0, 2), values),
    words("HGETALL", keys),
    words("HINCRBYFLOAT", keys, 1, "0.5"),
    words("HMGET", keys, 0, 1, 2),
    words("ZADD", keys, st.sampled_from(["1", "2.5", "inf", "nan"]), values),
    words("ZRANGE", keys, 0, -1, "WITHSCORES"),
    words("ZSCORE", keys, values),
    words("ZADD", keys, "INCR", 1, "1"),
    words("SADD", keys, values),
    words("SISMEMBER", keys, values),
    words("XADD", keys, st.sampled_from(["1-1", "2-1", "3-1"]), "field", values),
    words("XREAD", "COUNT", 2, "STREAMS", keys, 0),
    words("XINFO", "GROUPS", keys),
    words("SORT", keys, "ALPHA"),
    words("DBSIZE"),
    words("MOVE", keys, st.integers(0, 3)),
    words("SWAPDB", st.integers(0, 1), st.integers(0, 1)),
    words("EVAL", SCRIPT, 1, keys),
    words("EVAL", "return redis.call('SELECT', 1)", 0),
    words("EVAL", "redis.setresp(3) return redis.call('HGETALL', KEYS[1])", 1, keys),
    words("EVALSHA", "f" * 40, 0),
    words("CONFIG", "GET", "databases"),
    words("COMMAND", "COUNT"),
    words("COMMAND", "INFO", "get", "nothing"),
    words("PING"),
    words("PING", st.sampled_from(["1", "", b"\x00\r\n"])),  # not large: see the docstring
    words("ECHO", values),
    # What is wrong
    words("NOSUCHCOMMAND"),
    words("NOSUCHCOMMAND", values, keys),
    words("GET"),
    words("GET", keys, keys),
    words("ECHO"),
    words("PING", 1, 2),
    words("EXPIRE", keys, "x"),
    words("SET", keys, values, "XX", "NX"),
    words("CONFIG", "NOSUCH"),
    words("OBJECT", "NOSUCH", keys),
    words("SELECT"),
    words("LRANGE", keys, "x", 1),
    words("XREAD", "BLOCK", "x", "STREAMS", keys, 0),
    words("BLPOP", keys, "x"),
    words("BLPOP", keys),
    words("CLIENT"),
    words("CLIENT", "NOSUCH"),
)
# They change what their connection is.
stateful = st.one_of(
    words("SELECT", dbs),
    words("READONLY"),
    words("READWRITE"),
    words("MULTI"),
    words("EXEC"),
    words("DISCARD"),
    words("WATCH", keys),
    words("WATCH", keys, keys),
    words("UNWATCH"),
)
own = st.one_of(
    words("HELLO", st.sampled_from([1, 4, "x"])),
    words("AUTH", "wrong"),
    words("AUTH", 1, 2, 3),
    words("CLIENT", "SETNAME", st.sampled_from(["me", "you", "", "not good"])),
    words("CLIENT", "GETNAME"),
    words("CLIENT", "GETNAME", "x"),
    words("CLIENT", "SETNAME"),
    words("CLIENT", "REPLY", st.sampled_from(["ON", "OFF", "SKIP", "off", "x"])),
    words("CLIENT", "NO-EVICT", st.sampled_from(["ON", "OFF", "x"])),
    words("CLIENT", "GETREDIR"),
    words("CLIENT", "UNBLOCK", 99999),
    words("RESET"),
)
hello = st.one_of(
    words("HELLO", st.sampled_from([2, 3])),
    words("HELLO"),
    words("HELLO", 3, "SETNAME", st.sampled_from(["me", "not good"])),
    words("HELLO", 3, "AUTH", "default"),
    words("HELLO", 2, "NOSUCH"),
)
listen = st.one_of(
    words("SUBSCRIBE", channels),
    words("SUBSCRIBE", channels, channels),
    words("PSUBSCRIBE", patterns),
    words("PSUBSCRIBE", patterns, patterns),
    words("SSUBSCRIBE", channels),
    words("UNSUBSCRIBE", channels),
    words("UNSUBSCRIBE", channels, channels),
    words("PUNSUBSCRIBE", patterns),
    words("SUNSUBSCRIBE", channels),
    words("SUBSCRIBE"),
)
inline = st.sampled_from(
    [
        b"PING\r\n",
        b"\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"set a 'v w'\r\n",
        b'GET "a"\n',
        b"EXISTS a  b\r\n",
        b"GET\r\n",
    ]
)


def whole(commands: list[tuple[Word, ...]], end: str) -> bytes:
    return b"".join(command(*one) for one in [("MULTI",), *commands, (end,)])


actions = st.one_of(
    st.builds(lambda client, one: act(client, *one), clients, plain),
    st.builds(lambda client, one: act(client, *one), clients, plain),
    st.builds(lambda client, one: act(client, *one), clients, stateful),
    st.builds(lambda client, one: act(client, *one), clients, stateful),
    st.builds(lambda client, one: act(client, *one, in_multi=False), clients, own),
    st.builds(lambda client, one: act(client, *one, in_multi=False, subscribed=False), clients, hello),
    st.builds(lambda client, one: act(client, *one, in_multi=False), clients, listen),
    st.builds(
        lambda client, word: act(client, word, in_multi=False, names=True),
        clients,
        st.sampled_from(["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]),
    ),
    st.builds(
        lambda client, word, channel, value: act(client, word, channel, value, number=True),
        clients,
        st.sampled_from(["PUBLISH", "SPUBLISH"]),
        channels,
        values,
    ),
    st.builds(lambda client: act(client, "CLIENT", "ID", in_multi=False, number=True), clients),
    st.builds(Action, clients, inline),
    # In one write: a pipeline, a transaction.
    st.builds(
        lambda client, many: Action(client, b"".join(command(*one) for one in many)),
        clients,
        st.lists(plain | stateful, min_size=2, max_size=6),
    ),
    st.builds(
        lambda client, many, end: Action(client, whole(many, end)),
        clients,
        st.lists(plain, max_size=5),
        st.sampled_from(["EXEC", "EXEC", "EXEC", "DISCARD"]),
    ),
)


@SETTINGS
@given(st.lists(actions, min_size=5, max_size=30))
def test_two_clients_get_the_same_replies_as_without_muxproxy(pair: Pair, told: list[Action]) -> None:
    with Conversation(pair) as conversation:
        conversation.run(told)


def test_a_reply_that_differs_is_told(pair: Pair) -> None:
    """The servers are made to differ."""
    with Conversation(pair) as conversation:
        pair.behind.ask("SET", "a", "not there direct")
        with pytest.raises(DifferenceError):
            conversation.run([act(0, "GET", "a")])
