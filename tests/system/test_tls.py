"""TLS as it is met outside: an HTTPS nginx that asks for our certificate, a Redis that speaks TLS, Dubbo
through two muxproxies, of which the first takes off what the second has put on.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import redis
import urllib3

from tests.certificates import made
from tests.system.dubbo.own import Callers, Shuffler
from tests.system.load import RIGHT, Load, Plan
from tests.system.origins import Nginx, port_below_the_kernels
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.redis.server import RedisServer
from tests.system.sockdiag import Sampler

SERVER, CLIENT = made("server"), made("client")
BOUND = 4
SHOWN = {"cert_file": SERVER.cert, "key_file": SERVER.key}
BOTH = {"listen": ["127.0.0.1:0", "tls:127.0.0.1:0"], "tls": SHOWN}


class Files:
    """A certificate and its key, which are exchanged."""

    def __init__(self, folder: Path, name: str) -> None:
        self.cert, self.key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")

    def put(self, kind: str) -> None:
        one = made(kind)
        for source, place in ((one.cert, self.cert), (one.key, self.key)):
            shutil.copy(source, place + "~")
            Path(place + "~").rename(place)


def nginx(files: Files) -> Nginx:
    asks = f"ssl_verify_client on; ssl_client_certificate {SERVER.ca};"
    return Nginx(None, "ssl", f"ssl_certificate {files.cert}; ssl_certificate_key {files.key}; {asks}")


def test_certificates_of_both_sides_are_exchanged_under_load_without_an_error(tmp_path: Path) -> None:
    theirs, ours = Files(tmp_path, "theirs"), Files(tmp_path, "ours")
    theirs.put("server")
    ours.put("client")
    upstream = {
        "max_connections": BOUND,
        "max_lifetime": "200ms",  # so that there are handshakes all the time
        "tls": {
            "ca_file": SERVER.ca,
            "server_name": "localhost",
            "cert_file": ours.cert,
            "key_file": ours.key,
        },
    }
    with (
        contextlib.closing(nginx(theirs)) as origin,
        Proxy(origin.address, clients=BOTH, upstream=upstream) as proxy,
        Sampler(origin.address) as sampler,
        Load(Plan(proxy.host, proxy.port, parallel=16)) as load,
    ):
        for kind in ("server", "other"):
            read = proxy.log().count("TLS files read again")
            ours.put(kind)
            theirs.put("other" if kind == "server" else "server")
            origin.reload()
            wait_for(
                lambda read=read: proxy.log().count("TLS files read again") > read, within=10, what="a look"
            )
        results = load.stop()
        plain, by_tls = proxy.backend()["listen"]
        assert (plain, by_tls[:14]) == (proxy.address, "tls:127.0.0.1:")
        assert set(results.outcomes) == {RIGHT}, results.summary()
        told = proxy.backend()["tls"]["upstream"]
        assert told["verified"]
        assert told["resumed"] > 0
        assert 25 < told["days"]["upstream"] <= 30
        assert 25 < told["days"]["server"] <= 30
        assert sampler.result().held <= BOUND
        port = int(proxy.status()["backends"]["web"]["listen"][1].rpartition(":")[2])
        with urllib3.PoolManager(ca_certs=SERVER.ca, cert_reqs="CERT_REQUIRED") as pool:
            for _ in range(3):
                reply = pool.request(
                    "GET", f"https://localhost:{port}/echo?token=a", headers={"X-Token": "b"}
                )
                assert (reply.status, reply.data) == (200, b"a b\n")
        assert proxy.backend()["tls"]["clients"]["handshakes"] == 1


def test_a_redis_that_speaks_nothing_else_and_clients_that_do_either() -> None:
    port = port_below_the_kernels()
    files = ("--tls-cert-file", SERVER.cert, "--tls-key-file", SERVER.key, "--tls-ca-cert-file", SERVER.ca)
    server = RedisServer("--tls-port", str(port), *files)
    tls = {"ca_file": SERVER.ca, "server_name": "localhost", "cert_file": CLIENT.cert, "key_file": CLIENT.key}
    upstream = {"tls": tls, "max_connections": 2}
    with (
        contextlib.closing(server),
        Proxy(f"{server.host}:{port}", protocol="redis", clients=BOTH, upstream=upstream) as proxy,
    ):
        ports = [int(place.rpartition(":")[2]) for place in proxy.status()["backends"]["cache"]["listen"]]
        for number, secure in enumerate(({}, {"ssl": True, "ssl_ca_certs": SERVER.ca})):
            with redis.Redis("localhost" if secure else proxy.host, ports[number], **secure) as client:
                assert client.set("key", b"x" * 100_000 * (number + 1))
                pipe = client.pipeline(transaction=False)
                for _ in range(20):
                    pipe.get("key")
                assert [len(value) for value in pipe.execute()] == [100_000 * (number + 1)] * 20
        told = proxy.backend()["tls"]
        assert told["upstream"]["handshakes"] <= 2
        assert told["clients"]["handshakes"] == 1
        with redis.Redis(proxy.host, ports[1]) as client, contextlib.suppress(redis.ConnectionError):
            client.ping()  # in plain text, to where TLS is spoken
            raise AssertionError("who was that?")
        assert proxy.backend()["events"]["client_handshake_failed"] >= 1  # it tries again


def test_dubbo_through_what_takes_off_what_was_put_on() -> None:
    """A muxproxy of raw TCP with a `tls:` listener is what stunnel would be."""
    client_ca = {**SHOWN, "ca_file": SERVER.ca}
    listen = {"listen": ["tls:127.0.0.1:0"], "tls": client_ca}
    shown = {"ca_file": SERVER.ca, "cert_file": CLIENT.cert, "key_file": CLIENT.key}
    with (
        Shuffler() as provider,
        Proxy(provider.address, protocol="tcp", clients=listen, upstream={"max_connections": BOUND}) as outer,
        Proxy(outer.address, protocol="dubbo", upstream={"max_connections": BOUND, "tls": shown}) as inner,
        Callers(inner.host, inner.port, connections=20, calls=20, method="echo") as callers,
    ):
        assert callers.ends()["ends"] == {"right": 400}
        assert outer.backend()["tls"]["clients"]["handshakes"] <= BOUND
