"""A Redis that is asked how many clients it takes, and what claims to be one."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from muxproxy.config.address import Address, parse_server
from muxproxy.config.model import UpstreamTls
from muxproxy.doctor.reading.redis import CannotBeAskedError, Told, ask, fields, read
from tests.certificates import made, server_context


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


INFO = bulk("# Clients\r\nconnected_clients:12\r\nmaxclients:9000\r\n")
MAXCLIENTS = b"*2\r\n" + bulk("maxclients") + bulk("10000")


@contextmanager
def saying(*replies: bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[Address, list[bytes]]]:
    """A server that answers each thing it reads with the next reply, then closes."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            try:
                client = client if context is None else context.wrap_socket(client, server_side=True)
            except OSError as error:
                heard.append(str(error).encode())
                replies_left: tuple[bytes, ...] = ()
            else:
                replies_left = replies
            with client:
                for reply in replies_left:
                    heard.append(client.recv(4096))
                    client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield parse_server(f"127.0.0.1:{server.getsockname()[1]}"), heard
        thread.join()


def test_it_is_asked_for_maxclients_and_how_many_it_has() -> None:
    with saying(INFO, MAXCLIENTS) as (address, heard):
        assert ask(address, "", "") == Told(10000, 11, f"CONFIG GET maxclients, asked of {address}")
    assert b"".join(heard) == (
        b"*2\r\n$4\r\nINFO\r\n$7\r\nclients\r\n*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$10\r\nmaxclients\r\n"
    )


def test_by_tls_it_is_asked_only_where_it_shows_who_it_is() -> None:
    trusted = UpstreamTls(ca_file=made("server").ca)
    with saying(b"+OK\r\n", INFO, MAXCLIENTS, context=server_context()) as (address, _):
        assert ask(address, "", "secret", trusted).maxclients == 10000
    with (
        saying(context=server_context("stranger")) as (address, _),
        pytest.raises(CannotBeAskedError, match="certificate"),
    ):
        ask(address, "", "secret", trusted)
    # One that speaks no TLS is told nothing.
    with saying(b"+OK\r\n") as (address, heard), pytest.raises(CannotBeAskedError):
        ask(address, "", "secret", trusted)
    assert b"secret" not in b"".join(heard)
    with saying(b"") as (address, _), pytest.raises(CannotBeAskedError, match="ca_file cannot be read"):
        ask(address, "", "", UpstreamTls(ca_file="/nowhere"))


@pytest.mark.parametrize("refusal", [b"-NOPERM no CONFIG\r\n", b"*0\r\n"])
def test_where_config_is_refused_info_says_it(refusal: bytes) -> None:
    with saying(INFO, refusal) as (address, _):
        assert ask(address, "", "") == Told(9000, 11, f"INFO clients, asked of {address}")


def test_it_is_logged_in_to_as_the_configuration_says() -> None:
    with saying(b"+OK\r\n", INFO, MAXCLIENTS) as (address, heard):
        ask(address, "app", "secret")
    assert heard[0] == b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\nsecret\r\n"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"-WRONGPASS secret\x1b\r\n", "the server refuses: WRONGPASS"),
        (b"HTTP/1.1 400\r\n\r\n", "what answers does not say it as Redis does"),
        (b"*1\r\n" * 30000, "what answers does not say it as Redis does"),
        (b"$99999999999\r\n", "what answers does not say it as Redis does"),
        (bulk("connected_clients:x"), "what answers does not say it as Redis does"),
        (b"+", "the server closed the connection"),
    ],
)
def test_what_cannot_be_asked_says_why_and_harms_nobody(reply: bytes, why: str) -> None:
    with saying(reply) as (address, _), pytest.raises(CannotBeAskedError) as told:
        ask(address, "", "")
    assert str(told.value) == f"{address}: {why}"


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CannotBeAskedError, match="Connection refused"):
        ask(parse_server("127.0.0.1:1"), "", "")
    with pytest.raises(CannotBeAskedError, match="No such file"):
        ask(parse_server(f"unix:{tmp_path}/none.sock"), "", "")


def test_replies_are_read_as_far_as_they_go() -> None:
    assert read(io.BytesIO(b":5\r\n")) == ["5"]
    assert read(io.BytesIO(MAXCLIENTS)) == ["maxclients", "10000"]
    assert fields(["a:1\r\n# b\r\nc:d:e"]) == {"a": "1", "c": "d:e"}
