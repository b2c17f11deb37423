"""Real clients, run their usual ways, over at most eight connections to the origin.

The origin's `mirror` path answers with what it was asked, as JSON, so that a client's own view of the reply
and what came through to the server are both checked. A sampler counts the sockets to the origin throughout.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from tests.system.origins import Nginx, Program
from tests.system.process import needs, tool
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

BOUND = 8
BODY = b"0123456789" * 20_000  # 200 kB: more than request_buffer
SHA256 = hashlib.sha256(BODY).hexdigest()
TOKENS = [f"t{number}-" + "x" * (number % 50) for number in range(200)]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of the script server; its sockets never exceed the bound."""
    with (
        Program("script") as origin,
        Proxy(origin.address, upstream={"max_connections": BOUND}) as proxy,
        Sampler(origin.address) as sampler,
    ):
        yield proxy
        tally = sampler.result()
        assert 1 <= tally.held <= BOUND, tally


@pytest.fixture
def before_nginx() -> Iterator[Proxy]:
    with (
        Nginx() as nginx,
        Proxy(nginx.address, upstream={"max_connections": BOUND}) as proxy,
        Sampler(nginx.address) as sampler,
    ):
        yield proxy
        tally = sampler.result()
        assert 1 <= tally.held <= BOUND, tally


def echoed(token: str) -> str:
    return f"{token} {token}\n"


def program(*command: str, stdin: bytes = b"", within: float = 60) -> str:
    """What a program prints. It must end well."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=within, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode()


# curl


def curl(proxy: Proxy, path: str, *options: str, stdin: bytes = b"") -> str:
    return program(tool("curl"), "-sS", "--max-time", "20", *options, proxy.url(path), stdin=stdin)


@needs("curl")
def test_curl_gets_with_and_without_keep_alive_and_in_http_1_0(proxy: Proxy) -> None:
    for options in (
        [],
        ["-H", "Connection: close"],
        ["--http1.0"],
        ["--http1.0", "-H", "Connection: keep-alive"],
    ):
        assert curl(proxy, "/echo?token=a", "-H", "X-Token: a", *options) == echoed("a")
    one = [proxy.url(f"/echo?token={token}") for token in TOKENS[:20]]
    output = program(tool("curl"), "-sS", "--max-time", "20", "-w", "%{num_connects}\n", *one)
    assert re.findall(r"^t\S+", output, re.MULTILINE) == TOKENS[:20]
    assert re.findall(r"^\d+$", output, re.MULTILINE) == ["1"] + ["0"] * 19, "one connection for all twenty"


@needs("curl")
def test_curl_sends_head_requests_and_reads_no_body(proxy: Proxy) -> None:
    output = curl(proxy, "/head", "--head")
    assert output.startswith("HTTP/1.1 200 ")
    assert "content-length: 12345" in output.lower()
    # The connection is in step afterwards.
    assert curl(proxy, "/echo?token=b", "-H", "X-Token: b") == echoed("b")


@needs("curl")
def test_curl_uploads_with_a_length_chunked_and_after_100_continue(proxy: Proxy) -> None:
    for options in (
        ["--data-binary", "@-"],
        ["-T", "-"],  # chunked, because curl cannot know the length of its standard input
        ["--data-binary", "@-", "-H", "Expect: 100-continue"],
        ["--http1.0", "--data-binary", "@-"],
    ):
        mirror = json.loads(curl(proxy, "/mirror", *options, stdin=BODY))
        assert (mirror["bytes"], mirror["sha256"]) == (len(BODY), SHA256), options
    verbose = subprocess.run(
        [tool("curl"), "-sv", "-H", "Expect: 100-continue", "--data-binary", "@-", proxy.url("/mirror")],
        input=BODY,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert b"< HTTP/1.1 100 " in verbose.stderr


@needs("curl")
def test_curl_reads_chunked_replies_and_replies_that_end_with_the_connection(proxy: Proxy) -> None:
    assert curl(proxy, "/chunked") == "one two three\n"
    assert curl(proxy, "/chunked", "--http1.0") == "one two three\n"
    assert curl(proxy, "/until_close") == "up to the end\n"
    assert curl(proxy, "/until_close", "--http1.0") == "up to the end\n"
    assert curl(proxy, "/interim?token=c", "-H", "X-Token: c") == echoed("c")


@needs("curl")
def test_the_host_field_and_all_others_pass_as_they_came(proxy: Proxy) -> None:
    mirror = json.loads(curl(proxy, "/mirror", "-H", "Host: app.example:81", "-H", "X-Odd:  two  words "))
    fields = {name.lower(): value for name, value in mirror["fields"]}
    assert fields["host"] == "app.example:81"
    assert fields["x-odd"].strip() == "two  words"
    assert mirror["target"] == "/mirror"


# Python's clients


def test_requests_with_a_session_and_without_from_many_threads(proxy: Proxy) -> None:
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=50))

    def get(token: str) -> tuple[int, str]:
        send = session.get if len(token) % 2 else requests.get
        reply = send(proxy.url(f"/echo?token={token}"), headers={"X-Token": token}, timeout=20)
        return reply.status_code, reply.text

    with session, ThreadPoolExecutor(50) as pool:
        assert list(pool.map(get, TOKENS)) == [(200, echoed(token)) for token in TOKENS]


def test_requests_uploads_a_body_and_a_generator_and_asks_for_heads(proxy: Proxy) -> None:
    with requests.Session() as session:
        for data in (BODY, (BODY[start : start + 7_000] for start in range(0, len(BODY), 7_000))):
            mirror = session.post(proxy.url("/mirror"), data=data, timeout=20).json()
            assert (mirror["method"], mirror["bytes"], mirror["sha256"]) == ("POST", len(BODY), SHA256)
        head = session.head(proxy.url("/head"), timeout=20)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "12345", b"")
        chunked = session.get(proxy.url("/chunked"), timeout=20)
        assert (chunked.status_code, chunked.text) == (200, "one two three\n")


def test_urllib3_with_a_pool_and_one_connection_each(proxy: Proxy) -> None:
    with urllib3.PoolManager(maxsize=20, block=True) as pool, ThreadPoolExecutor(20) as threads:

        def get(token: str) -> tuple[int, bytes]:
            fields = {"X-Token": token} | ({"Connection": "close"} if len(token) % 2 else {})
            reply = pool.request(
                "GET", proxy.url(f"/echo?token={token}"), headers=fields, timeout=20, retries=False
            )
            return reply.status, reply.data

        expected = [(200, echoed(token).encode()) for token in TOKENS]
        assert list(threads.map(get, TOKENS)) == expected
        mirror = pool.request("PUT", proxy.url("/mirror"), body=BODY, chunked=True, timeout=20).json()
        assert (mirror["method"], mirror["bytes"], mirror["sha256"]) == ("PUT", len(BODY), SHA256)


def test_httpx_with_a_hundred_requests_at_a_time(proxy: Proxy) -> None:
    async def all_of_them() -> list[tuple[int, str]]:
        async with httpx.AsyncClient(timeout=20) as client:

            async def get(token: str) -> tuple[int, str]:
                fields = {"X-Token": token} | ({"Connection": "close"} if len(token) % 2 else {})
                reply = await client.get(proxy.url(f"/echo?token={token}"), headers=fields)
                return reply.status_code, reply.text

            async def parts() -> Any:
                for start in range(0, len(BODY), 9_000):
                    yield BODY[start : start + 9_000]

            replies = await asyncio.gather(*(get(token) for token in TOKENS))
            mirror = (await client.put(proxy.url("/mirror"), content=parts())).json()
            assert (mirror["bytes"], mirror["sha256"]) == (len(BODY), SHA256)
            head = await client.head(proxy.url("/head"))
            assert (head.status_code, head.headers["content-length"]) == (200, "12345")
            return list(replies)

    assert asyncio.run(all_of_them()) == [(200, echoed(token)) for token in TOKENS]


@pytest.mark.parametrize("force_close", [False, True], ids=["keep-alive", "closing"])
def test_aiohttp_with_a_hundred_requests_at_a_time(proxy: Proxy, force_close: bool) -> None:
    async def all_of_them() -> list[tuple[int, str]]:
        connector = aiohttp.TCPConnector(limit=100, force_close=force_close)
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def get(token: str) -> tuple[int, str]:
                url = proxy.url(f"/echo?token={token}")
                async with session.get(url, headers={"X-Token": token}) as reply:
                    return reply.status, await reply.text()

            async def parts() -> Any:
                for start in range(0, len(BODY), 9_000):
                    yield BODY[start : start + 9_000]

            replies = await asyncio.gather(*(get(token) for token in TOKENS))
            async with session.post(proxy.url("/mirror"), data=parts(), expect100=True) as reply:
                mirror = await reply.json()
                assert (mirror["bytes"], mirror["sha256"]) == (len(BODY), SHA256)
            async with session.head(proxy.url("/head")) as reply:
                assert (reply.status, reply.headers["Content-Length"]) == (200, "12345")
            return list(replies)

    assert asyncio.run(all_of_them()) == [(200, echoed(token)) for token in TOKENS]


# Node, ab, wrk

_FETCH = """
const url = process.argv[1], tokens = JSON.parse(process.argv[2]);
const one = async (token, number) => {
  const connection = number % 2 ? {connection: 'close'} : {};
  const reply = await fetch(`${url}/echo?token=${token}`, {headers: {'X-Token': token, ...connection}});
  return [reply.status, await reply.text()];
};
const replies = await Promise.all(tokens.map(one));
const start = (stream) => {
  for (let part = 0; part < 50; part++) stream.enqueue(new Uint8Array(4000));
  stream.close();
};
const body = new ReadableStream({start});
const mirror = await (await fetch(`${url}/mirror`, {method: 'POST', body, duplex: 'half'})).json();
const head = await fetch(`${url}/head`, {method: 'HEAD'});
console.log(JSON.stringify({replies, bytes: mirror.bytes, head: head.headers.get('content-length')}));
"""


@needs("node")
def test_fetch_of_node_with_many_requests_at_a_time_and_a_stream(proxy: Proxy) -> None:
    command = [
        tool("node"),
        "--input-type=module",
        "--no-warnings",
        "-e",
        _FETCH,
        proxy.url(""),
        json.dumps(TOKENS),
    ]
    said = json.loads(program(*command))
    assert said["replies"] == [[200, echoed(token)] for token in TOKENS]
    assert (said["bytes"], said["head"]) == (200_000, "12345")


@needs("ab")
@pytest.mark.parametrize("options", [[], ["-k"]], ids=["http-1.0", "http-1.0-keep-alive"])
def test_ab_fails_no_request(before_nginx: Proxy, options: list[str]) -> None:
    count = 5_000
    url = before_nginx.url("/echo?token=ab")
    output = program(tool("ab"), "-q", "-n", str(count), "-c", "100", *options, "-H", "X-Token: ab", url)
    numbers = dict(re.findall(r"^([A-Z][A-Za-z0-9 -]+):\s+(\d+)", output, re.MULTILINE))
    assert numbers["Complete requests"] == str(count)
    assert numbers["Failed requests"] == "0"
    assert "Non-2xx responses" not in numbers
    assert numbers["HTML transferred"] == str(count * len(echoed("ab")))
    if options:
        assert numbers["Keep-Alive requests"] == str(count)
    assert before_nginx.backend()["outcomes"]["replied"]["ok"] == count


@needs("wrk")
def test_wrk_sees_no_error(before_nginx: Proxy) -> None:
    output = program(
        *(tool("wrk"), "-t2", "-c200", "-d4s", "--timeout", "20s"),
        *("-H", "X-Token: w", before_nginx.url("/echo?token=w")),
    )
    done = int(re.findall(r"(\d+) requests in", output)[0])
    assert done > 200, output  # each of its clients, on any machine
    assert "Socket errors" not in output, output
    assert "Non-2xx" not in output, output


# By hand


def talk(proxy: Proxy, data: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        sock.sendall(data)
        pieces = []
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def test_pipelined_requests_are_answered_in_their_order(proxy: Proxy) -> None:
    # The first is the slowest: its reply must still be the first.
    heads = [
        f"GET /slow?ms={100 - number * 10}&token={number} HTTP/1.1\r\nHost: a\r\nX-Token: {number}\r\n\r\n"
        for number in range(10)
    ]
    heads.append("GET /echo?token=end HTTP/1.1\r\nHost: a\r\nX-Token: end\r\nConnection: close\r\n\r\n")
    replies = talk(proxy, "".join(heads).encode())
    assert re.findall(rb"\r\n\r\n(\S+) (\S+)\n", replies) == [
        *((str(number).encode(),) * 2 for number in range(10)),
        (b"end", b"end"),
    ]
    assert replies.count(b"HTTP/1.1 200 ") == 11


def test_an_http_1_0_client_gets_its_reply_and_the_end_of_the_connection(proxy: Proxy) -> None:
    reply = talk(proxy, b"GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n")
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"chunked" not in head.lower()
    assert body == b"one two three\n"


def test_what_is_not_http_gets_400_and_is_not_forwarded(proxy: Proxy) -> None:
    assert talk(proxy, b"GET /echo?token=ok HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    smuggled = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    )
    for wrong in (b"not http at all\r\n\r\n", smuggled, b"GET / HTTP/1.1\r\n\r\n"):
        reply = talk(proxy, wrong)
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert reply.count(b"\r\n\r\n") == 1, "one reply and no more"
    assert proxy.outcomes() == {"ok": 1, "bad_request": 3}


def test_a_repeated_expect_100_continue_is_told_once_and_the_body_comes_after(proxy: Proxy) -> None:
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        stream = sock.makefile("rb")
        with stream:
            for _ in range(2):
                sock.sendall(
                    b"POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
                )
                assert stream.readline().startswith(b"HTTP/1.1 100 ")
                assert stream.readline() == b"\r\n"
                sock.sendall(b"body")
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                fields = dict(line.lower().split(b": ") for line in iter(stream.readline, b"\r\n"))
                assert json.loads(stream.read(int(fields[b"content-length"])))["bytes"] == 4
