"""A large upload and a large download beside small requests: exact bytes, constant memory, nobody starves."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.sizes import size
from tests.system.lateness import Lateness
from tests.system.load import RIGHT, Load, Plan, percentile
from tests.system.origins import Program
from tests.system.proxy import Proxy, memory
from tests.system.servers import PATTERN

LARGE = size(128 << 20, 1 << 30)  # bytes
MAY_GROW = 32 << 20  # bytes


def sha256_of_pattern(length: int) -> str:
    digest = hashlib.sha256()
    for _ in range(length // len(PATTERN)):
        digest.update(PATTERN)
    digest.update(PATTERN[: length % len(PATTERN)])
    return digest.hexdigest()


def pattern(length: int) -> Iterator[bytes]:
    for start in range(0, length, len(PATTERN)):
        yield PATTERN[: length - start]


def upload(proxy: Proxy, length: int, chunked: bool) -> dict[str, Any]:
    """What the origin says that it got."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=60)
    fields = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(length)}
    connection.request("PUT", "/upload", pattern(length), fields, encode_chunked=chunked)
    reply = connection.getresponse()
    assert reply.status == 200
    answer = json.loads(reply.read())
    connection.close()
    return {"bytes": answer["bytes"], "sha256": answer["sha256"]}


def download(proxy: Proxy, length: int) -> dict[str, Any]:
    """What came."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=60)
    connection.request("GET", f"/stream?bytes={length}")
    reply = connection.getresponse()
    assert reply.status == 200
    digest = hashlib.sha256()
    total = 0
    while data := reply.read(1 << 20):
        digest.update(data)
        total += len(data)
    connection.close()
    return {"bytes": total, "sha256": digest.hexdigest()}


class InThread:
    """A function's result, from a thread; hashing and sockets release the interpreter's lock."""

    def __init__(self, function: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        self._result: dict[str, Any] | BaseException = AssertionError(f"{function.__name__} did not finish")
        self._thread = threading.Thread(target=self._run, args=(function, *arguments), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        try:
            self._result = function(*arguments)
        except BaseException as error:  # raised again in the test's own thread
            self._result = error

    def result(self, within: float) -> dict[str, Any]:
        self._thread.join(within)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


def test_large_bodies_each_way_beside_small_requests_cost_no_memory_and_not_a_byte() -> None:
    with Program("script") as origin, Proxy(origin.address, upstream={"max_connections": 8}) as proxy:
        (worker,) = proxy.workers()
        with (
            Load(Plan(proxy.host, proxy.port, parallel=4, patience=60)) as load,
            Lateness(worker, *load.pids) as lateness,
        ):
            before = memory(worker)
            up, down = InThread(upload, proxy, LARGE, False), InThread(download, proxy, LARGE)
            expected = {"bytes": LARGE, "sha256": sha256_of_pattern(LARGE)}
            assert up.result(within=240) == expected
            assert down.result(within=240) == expected
            small = load.stop()
        grown = memory(worker, "VmHWM") - before
    print(f"the worker grew by {grown / 2**20:.1f} MiB at most; beside it {small.summary()}")
    assert grown < MAY_GROW
    # Small requests went on: all right, and never for long behind a large one.
    assert set(small.outcomes) == {RIGHT}, small.examples
    # (Without what the machine was late meanwhile: it has much to copy and to hash.)
    took = sorted(record.took - lateness.between(record.began, record.ended) for record in small.records)
    assert len(took) > 100
    assert percentile(took, 99) < 0.5


def test_a_chunked_upload_of_any_size_arrives_whole() -> None:
    length = 64 << 20
    with Program("script") as origin, Proxy(origin.address, upstream={"max_connections": 8}) as proxy:
        (worker,) = proxy.workers()
        before = memory(worker)
        assert upload(proxy, length, True) == {"bytes": length, "sha256": sha256_of_pattern(length)}
        assert memory(worker, "VmHWM") - before < MAY_GROW
