"""To servers by TLS: what is wrong with one is said, costs no place, and is left alone as who refuses."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from muxproxy.config.model import Tcp, UpstreamTls
from muxproxy.protocols.contract import Sharing
from muxproxy.protocols.tcp import TcpProtocol
from tests.certificates import made, server_context
from tests.worker.hands import Bench, End, TlsEnd, perform

TRUSTING = UpstreamTls(ca_file=made("server").ca)


async def line(end: End) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        data += await end.gets(1)
    return data


async def _shakes(bench: Bench, context: ssl.SSLContext) -> None:
    """A server, as often as it is asked; whatever comes of it."""
    while True:
        sock, _ = await asyncio.get_running_loop().sock_accept(bench.origin)
        end = TlsEnd(sock, context, is_server=True)
        bench.keep(end)
        try:
            await end.shakes()
        except (ssl.SSLError, OSError):
            await end.tells()  # its alert
            end.closes()


async def _fails(bench: Bench, context: ssl.SSLContext, wanted: str) -> None:
    serving = asyncio.get_running_loop().create_task(_shakes(bench, context))
    await bench.asks(b"ann\n")
    await bench.until(lambda: bench.statistics()["servers"][0]["failures"] > 1)
    (server,) = bench.statistics()["servers"]
    assert wanted in server["last_error"]
    assert server["state"] in ("backing_off", "probing")
    assert wanted in bench.pool._server_trouble(), "whoever is refused is told"
    (told_once,) = [fields for _, event, fields in bench.logged if event == "server cannot be reached"]
    assert wanted in told_once["error"]
    assert (told_once["backend"], told_once["server"]) == ("toys", bench.address)
    assert bench.engine.contexts.statistics("toys")["tls"]["upstream"]["failed"] > 1
    assert len(bench.pool.upstreams) <= 1
    serving.cancel()


FAULTY = {
    "expired": ("expired", "TLS: the server's certificate: certificate has expired"),
    "misnamed": ("misnamed", "TLS: the server's certificate: IP address mismatch"),
    "self-signed": ("self-signed", "TLS: the server's certificate: self-signed certificate"),
    "stranger": ("stranger", "TLS: the server's certificate: unable to get local issuer certificate"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_server_whose_certificate_is_wrong_is_told_by_what_is_wrong(fault: str) -> None:
    kind, wanted = FAULTY[fault]
    perform(
        lambda bench: _fails(bench, server_context(kind), wanted),
        tls=TRUSTING,
        timeout=60.0,
        max_connections=1,
    )


def test_the_name_that_was_written_is_asked_for_and_checked() -> None:
    asked = []

    async def scene(bench: Bench) -> None:
        context = bench.server_context = server_context()
        context.sni_callback = lambda tls, name, _: asked.append(name)
        bench.pool.names = {bench.address: "origin.internal"}
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        assert await server.gets(4) == b"ann\n"
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        assert asked == ["origin.internal"]

    perform(scene, tls=TRUSTING)

    async def another(bench: Bench) -> None:
        await _fails(
            bench, server_context(), "Hostname mismatch, certificate is not valid for 'other.internal'"
        )

    perform(another, tls=UpstreamTls(TRUSTING.ca_file, "other.internal"), timeout=60.0, max_connections=1)


def test_who_is_not_to_be_checked_may_be_anybody() -> None:
    async def scene(bench: Bench) -> None:
        bench.server_context = server_context("self-signed")
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"

    perform(scene, tls=UpstreamTls(verify=False))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_our_certificate_says_so(version: ssl.TLSVersion) -> None:
    """With TLS 1.3 after the handshake, as far as we can see."""

    async def scene(bench: Bench) -> None:
        context = server_context(asks_for="client")
        context.maximum_version = version
        serving = asyncio.get_running_loop().create_task(_shakes(bench, context))
        ann = await bench.asks(b"ann\n")
        await bench.until(lambda: bench.statistics()["servers"][0]["failures"] > 0)
        assert "TLS: the server refused: unknown ca" in bench.statistics()["servers"][0]["last_error"]
        if version is ssl.TLSVersion.TLSv1_3:  # who was sent already is told
            assert b"TLS: the server refused: unknown ca" in await line(ann)
        serving.cancel()

    stranger = made("stranger")
    perform(
        scene,
        tls=UpstreamTls(TRUSTING.ca_file, "", stranger.cert, stranger.key),
        timeout=60.0,
        max_connections=1,
    )


def test_a_server_that_knows_our_certificate_serves() -> None:
    async def scene(bench: Bench) -> None:
        bench.server_context = server_context(asks_for="client")
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        assert await server.gets(4) == b"ann\n"
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        assert isinstance(server, TlsEnd)
        assert server.tls.getpeercert() != {}

    client = made("client")
    perform(scene, tls=UpstreamTls(TRUSTING.ca_file, "", client.cert, client.key))


def test_a_server_in_plain_text_is_told_from_one_that_is_down() -> None:
    async def scene(bench: Bench) -> None:
        await bench.asks(b"ann\n")
        sock, _ = await asyncio.get_running_loop().sock_accept(bench.origin)
        server = bench.keep(End(sock))
        assert (await server.gets(1))[0] == 22  # a handshake's record
        await server.sends(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await bench.until(lambda: bench.statistics()["servers"][0]["failures"] > 0)
        assert "TLS: the server does not speak TLS here" in bench.statistics()["servers"][0]["last_error"]

    perform(scene, tls=TRUSTING, timeout=60.0, max_connections=1, backoff_min=1.0, backoff_max=1.0)


@pytest.mark.parametrize("ends", [True, False])
def test_a_handshake_that_stops_half_way_ends_with_the_time_to_connect(*, ends: bool) -> None:
    async def scene(bench: Bench) -> None:
        await bench.asks(b"ann\n")
        sock, _ = await asyncio.get_running_loop().sock_accept(bench.origin)
        server = bench.keep(End(sock))
        await server.gets(1)
        assert bench.statistics()["upstream"]["connecting"] == 1, "it counts (P1)"
        if ends:
            server.finishes()
        await bench.until(lambda: bench.statistics()["servers"][0]["failures"] > 0)
        wanted = "ended in the middle of the handshake" if ends else "the handshake was not done within"
        assert wanted in bench.statistics()["servers"][0]["last_error"]
        assert await server.gets_end() != b"", "its socket is gone"
        await bench.until(lambda: not bench.pool.upstreams)
        assert not bench.engine._shaking

    keys = {
        "connect_timeout": 0.1,
        "timeout": 60.0,
        "max_connections": 1,
        "backoff_min": 1.0,
        "backoff_max": 1.0,
    }
    perform(scene, tls=TRUSTING, **keys)


def test_files_that_cannot_be_used_are_an_error_of_the_connect() -> None:
    async def scene(bench: Bench) -> None:
        await bench.asks(b"ann\n")
        await bench.until(lambda: bench.statistics()["servers"][0]["failures"] > 0)
        told = bench.statistics()["servers"][0]["last_error"]
        assert told == "TLS: upstream.tls.ca_file: /none.pem: cannot be read: No such file or directory"

    perform(scene, tls=UpstreamTls("/none.pem"), timeout=60.0, max_connections=1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_connection_resumes_the_session_of_the_last(version: ssl.TLSVersion) -> None:
    async def scene(bench: Bench) -> None:
        bench.server_context = server_context()
        bench.server_context.maximum_version = version
        for again in (False, True):
            ann = await bench.asks(b"ann bye\n")
            server = await bench.accepted()
            assert isinstance(server, TlsEnd)
            assert server.tls.session_reused is again
            await server.sends(b"ann\n")
            assert await ann.gets_end() == b"ann\n"
            server.closes()
            await bench.until(lambda: not bench.pool.upstreams)
        told = bench.engine.contexts.statistics("toys")["tls"]["upstream"]
        assert (told["handshakes"], told["resumed"], told["failed"]) == (2, 1, 0)
        assert 29 < told["days"]["server"] <= 30

    perform(scene, tls=TRUSTING, max_connections=1)


def test_a_reply_that_ends_with_the_connection_must_be_announced() -> None:
    """RFC 9112 section 9.8; a `tcp` session likewise."""
    for announced in (True, False):

        async def scene(bench: Bench, announced: bool = announced) -> None:
            ann = await bench.client()
            await ann.sends(b"hello")
            server = await bench.accepted()
            assert await server.gets(5) == b"hello"
            await server.sends(b"half of it")
            assert await ann.gets(10) == b"half of it"
            assert isinstance(server, TlsEnd)
            if announced:
                server.closes()
                assert await ann.gets_end() == b""
            else:
                server.sock.close()
                with pytest.raises(ConnectionResetError):
                    await ann.gets_end()

        perform(scene, TcpProtocol(Tcp()), tls=TRUSTING)


def test_what_owes_nothing_may_end_without_an_announcement() -> None:
    async def scene(bench: Bench) -> None:
        ann = await bench.asks(b"ann\n")
        server = await bench.accepted()
        await server.sends(b"ann\n")
        assert await ann.gets(4) == b"ann\n"
        server.sock.close()
        await bench.until(lambda: not bench.pool.upstreams)
        assert bench.statistics()["connect_failures"] == 0
        assert bench.outcomes() == {"ok": 1}

    perform(scene, Sharing.EXCLUSIVE, tls=TRUSTING)
