"""What programs do with redis-py: each scenario returns what its client saw, to be compared with another run.

The asyncio scenarios are in `scenarios_async.py`. Nothing that depends on time or on process-wide counters
is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import LockError, ResponseError, WatchError

from tests.system.process import wait_for

Make = Callable[..., "redis.Redis"]
Story = list[Any]


def strings_and_containers(make: Make) -> Story:
    client = make()
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.zadd("zset", {"one": 1, "two": 2.5, "inf": float("inf")})
    client.sadd("set", "x", "y", "x")
    client.rpush("list", *range(5))
    client.xadd("stream", {"field": "value"}, id="1-1")
    return [
        client.set("key", b"\x00\r\n\xff"),
        client.get("key"),
        client.get("missing"),
        client.set("key", "other", nx=True),
        client.set("key", "other", get=True),
        client.incrby("counter", 41),
        client.incrbyfloat("float", 1.5),
        client.mset({"m1": 1, "m2": ""}),
        client.mget("m1", "m2", "m3"),
        client.hgetall("hash"),
        client.hmget("hash", "a", "nothing"),
        client.zrange("zset", 0, -1, withscores=True),
        client.zscore("zset", "inf"),
        client.smembers("set"),
        client.smismember("set", ["x", "z"]),
        client.lrange("list", 0, -1),
        client.lpos("list", "3"),
        client.xrange("stream"),
        client.xread({"stream": "0"}),
        client.type("stream"),
        client.expire("key", 100),
        client.config_get("maxmemory-policy"),
        client.command_count(),
        sorted(client.scan_iter(match="m*", count=1)),
        client.set("large", b"x" * 1_000_000),
        client.get("large") == b"x" * 1_000_000,
        client.echo("token"),
        client.ping(),
        client.delete("key", "large", "missing"),
    ]


def errors(make: Make) -> Story:
    client = make()
    client.rpush("list", 1)
    told: Story = []
    for command in (
        ("INCR", "list"),
        ("GET",),
        ("NOSUCHCOMMAND", "a", "b"),
        ("SET", "a", "b", "SYNTAX"),
        ("EVALSHA", "0" * 40, 0),
        ("CLIENT", "NOSUCH"),
        ("SELECT", "99"),
        ("SELECT", "x"),
        ("XREAD", "COUNT", "x", "STREAMS", "a", "0"),
    ):
        try:
            told.append(client.execute_command(*command))
        except ResponseError as error:
            told.append((type(error).__name__, str(error)))
    told.append(client.ping())
    return told


def pipelines(make: Make) -> Story:
    client = make()
    pipe = client.pipeline(transaction=False)
    for number in range(500):
        pipe.set(f"key{number}", number)
        pipe.get(f"key{number}")
    told: Story = [pipe.execute()]
    pipe = client.pipeline(transaction=False)
    pipe.set("key", "text").incr("key").get("key")
    results = pipe.execute(raise_on_error=False)
    told.append([str(result) for result in results])
    return told


def transactions(make: Make) -> Story:
    client = make()
    pipe = client.pipeline()
    told: Story = [pipe.set("a", 1).incr("a").hset("h", mapping={"x": 1}).hgetall("h").execute()]
    # Fails while it runs: the others' results stand.
    results = client.pipeline().set("a", "text").incr("a").get("a").execute(raise_on_error=False)
    told.append([str(result) for result in results])
    # Fails while it is queued: nothing runs.
    try:
        client.pipeline().set("a", "new").execute_command("GET").execute()
    except ResponseError as error:
        told.append(str(error))
    told.append(client.get("a"))
    large = client.pipeline()  # more than any buffer that holds a transaction together
    for number in range(100):
        large.set(f"large{number}", b"x" * 10_000)
    told.append(large.execute())
    return told


def watches(make: Make) -> Story:
    client, other = make(), make()
    client.set("balance", 10)
    told: Story = []
    for disturb in (False, True):
        with client.pipeline() as pipe:
            pipe.watch("balance")
            balance = int(pipe.get("balance") or 0)
            if disturb:
                other.set("balance", 1000)
            pipe.multi()
            pipe.set("balance", balance + 1)
            pipe.get("balance")
            try:
                told.append(pipe.execute())
            except WatchError as error:
                told.append(str(error))
    told.append(client.get("balance"))

    def increment(pipe: Any) -> None:
        pipe.multi()
        pipe.incr("balance")

    told.append(client.transaction(increment, "balance"))
    with client.pipeline() as pipe:  # UNWATCH: what another changes does not matter any more
        pipe.watch("balance")
        other.set("balance", 1)
        pipe.unwatch()
        pipe.multi()
        told.append(pipe.incr("balance").execute())
    return told


def locks(make: Make) -> Story:
    client, counted = make(), make()
    told: Story = []
    with client.lock("lock", timeout=20):
        told.append(client.lock("lock", timeout=20).acquire(blocking=False))

    def count() -> None:
        mine = make()
        for _ in range(5):
            with mine.lock("lock", timeout=20, sleep=0.005):
                value = int(mine.get("counted") or 0)
                mine.set("counted", value + 1)

    in_threads(count, 5)
    told.append(counted.get("counted"))
    lock = client.lock("lock", timeout=20)
    lock.acquire()
    client.delete("lock")
    try:
        lock.release()
    except LockError as error:
        told.append(str(error))
    return told


def lua(make: Make) -> Story:
    client = make()
    script = client.register_script("redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], ARGV[1], 7}")
    told: Story = [script(keys=["k"], args=["v"]), script(keys=["k"], args=["w"]), client.get("k")]
    pipe = client.pipeline()
    script(keys=["p"], args=["q"], client=pipe)
    told.append(pipe.execute())
    told.append(client.script_exists(script.sha))
    try:
        client.eval("return redis.call('INCR', 'k')", 0)
    except ResponseError as error:
        told.append(str(error))
    return told


def blocking_queue(make: Make) -> Story:
    """Three workers take 60 jobs; what each job becomes is told, not who did it."""
    client = make()

    def work() -> None:
        mine = make()
        while (job := mine.blpop(["jobs", "ends"], timeout=20)) is not None and job[0] == b"jobs":
            mine.rpush("done", job[1] + b" done")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        client.rpush("jobs", number)
    done = sorted(client.blpop("done", timeout=20)[1] for _ in range(60))
    client.rpush("ends", *range(3))
    for thread in threads:
        thread.join(20)
    client.rpush("source", "moved")
    return [
        done,
        client.blpop("never", timeout=0.05),
        client.blmove("source", "target", 1),
        client.bzpopmin("none", 0.05),
        client.blmpop(0.05, 1, "target", direction="LEFT"),
        client.xread({"stream": "$"}, block=20),
        client.wait(0, 100),
    ]


def pub_sub(make: Make) -> Story:
    client = make()
    feed = client.pubsub()
    feed.subscribe("news", "sport")
    feed.psubscribe("n*")
    told: Story = [message(feed) for _ in range(3)]
    told.append(client.publish("news", "one"))
    told.append([message(feed), message(feed)])
    feed.ping("token")
    told.append(message(feed))
    feed.unsubscribe("news")
    told.append(message(feed))
    # muxproxy answers UNSUBSCRIBE before the server has it, and is counted so long (protocols/redis/README).
    wait_for(lambda: client.pubsub_numsub("news")[0][1] == 0, within=10, what="it is told")
    told.append([client.publish("news", "two"), client.publish("sport", b"\x00\xff")])
    told.append([message(feed), message(feed)])
    told.append([client.pubsub_channels(), client.pubsub_numpat(), client.pubsub_numsub("sport")])
    feed.ssubscribe("shard")
    told.append(message(feed))
    told.append(client.spublish("shard", "three"))
    told.append(message(feed))
    feed.unsubscribe()
    feed.punsubscribe()
    feed.sunsubscribe()
    told.append([message(feed) for _ in range(3)])
    feed.close()
    return told


def message(feed: Any) -> Any:
    """The next message or acknowledgement, within reason."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (found := feed.get_message(timeout=1.0)) is not None:
            return {key: value for key, value in found.items() if value is not None}
    raise AssertionError("no message")


def names_and_databases(make: Make) -> Story:
    """Connections that differ in state, taken in turns: none sees the other's name or database."""
    clients = [make(db=db, client_name=f"name-{db}") for db in (0, 1, 2, 15)]
    for client in clients:
        client.set("key", client.client_getname())
    told: Story = [[client.get("key"), client.client_getname(), client.dbsize()] for client in clients]
    told.append(len({client.client_id() for client in clients}))
    told.append(clients[1].move("key", 7))
    told.append([client.exists("key") for client in clients])
    return told


def in_threads(target: Callable[[], None], number: int) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            target()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


ALL = (
    strings_and_containers,
    errors,
    pipelines,
    transactions,
    watches,
    locks,
    lua,
    blocking_queue,
    pub_sub,
    names_and_databases,
)
