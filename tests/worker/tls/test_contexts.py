"""Contexts are made anew when their files are others, and what is wrong or ends soon is logged."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from muxproxy.config.model import ClientsTls, UpstreamTls
from muxproxy.config.tls.certificates import DAY
from muxproxy.worker.tls import contexts
from muxproxy.worker.tls.contexts import Contexts, Secured
from tests.certificates import client_context, made, server_context


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.timers: list[Callable[[], None]] = []
        self.contexts = Contexts(
            lambda delay, call: self.timers.append(call),
            lambda event, level="info", **fields: self.lines.append((event, fields)),
            lambda: self.now,
        )
        self.now = _end(made("server").cert) - 20 * DAY

    def looks(self) -> list[str]:
        """The timer rings. Returns what is logged."""
        self.lines.clear()
        (ring,) = self.timers
        self.timers.clear()
        ring()
        return [event for event, _ in self.lines]


def _end(cert: str) -> float:
    return DAY * contexts.days(cert, 0.0)


def _copies(tmp_path: Path) -> ClientsTls:
    return ClientsTls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))


def _put(tls: ClientsTls, cert: str = "", key: str = "") -> None:
    """In its place, as `mv` does it."""
    for source, place in ((cert, tls.cert_file), (key, tls.key_file)):
        if source:
            shutil.copy(source, place + "~")
            Path(place + "~").rename(place)


def test_files_that_have_changed_are_read_again(tmp_path: Path) -> None:
    world, tls = World(), _copies(tmp_path)
    one, other = made("server"), made("other")
    _put(tls, one.cert, one.key)
    secured = world.contexts.of("web", "http", tls)
    assert world.contexts.of("web", "http", tls) is secured
    first = secured.context
    assert world.looks() == []
    assert secured.context is first
    _put(tls, other.cert)
    assert world.looks() == ["TLS files cannot be used"]
    assert "is not the key of the certificate" in str(world.lines[0][1]["error"])
    assert secured.context is first, "in between, what there was is used"
    assert world.looks() == [], "it is said once"
    _put(tls, "", other.key)
    assert world.looks() == ["TLS files read again"]
    assert secured.context is not first
    assert secured.error == ""


def test_files_that_were_never_good_are_used_when_they_are(tmp_path: Path) -> None:
    world, tls = World(), _copies(tmp_path)
    secured = world.contexts.of("web", "http", tls)
    assert secured.context is None
    assert [event for event, _ in world.lines] == ["TLS files cannot be used"]
    assert world.contexts.statistics("web")["tls"]["clients"]["error"].startswith("clients.tls.cert_file: ")
    _put(tls, *made("server")[:2])
    world.looks()
    assert secured.context is not None


def test_a_certificate_that_ends_soon_is_told_each_day() -> None:
    world, one = World(), made("server")
    world.contexts.of("web", "http", ClientsTls(one.cert, one.key))
    assert world.lines == []
    world.now += 7 * DAY
    assert world.looks() == ["certificate expires soon"]
    assert world.lines[0][1] == {"backend": "web", "whose": "clients", "days": 13.0}
    assert world.looks() == []
    world.now += DAY
    assert world.looks() == ["certificate expires soon"]
    assert world.contexts.statistics("web")["tls"]["clients"]["days"] == {"clients": 12.0}
    assert world.contexts.statistics("other") == {}


def test_what_a_reload_has_taken_away_is_looked_at_no_more() -> None:
    world = World()
    kept, gone = UpstreamTls(ca_file=made("server").ca), UpstreamTls(verify=False)
    for tls in (kept, gone):
        world.contexts.of("web", "http", tls)
    world.contexts.keep_only("web", (kept, None))
    assert world.contexts.statistics("web")["tls"]["upstream"]["verified"] is True
    world.contexts.keep_only("web", ())
    assert world.looks() == []
    assert world.timers == []


def test_sessions_are_kept_per_server_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "MOST", 5)
    secured = Secured("web", "http", UpstreamTls(ca_file=made("server").ca))
    secured.look(0.0)
    assert secured.context is not None
    done = _shaken(secured.context)
    for number in range(10):
        secured.keep(f"10.0.0.{number}:443 a", done)
    assert secured.session("10.0.0.4:443 a") is None
    assert secured.session("10.0.0.5:443 a") is not None
    secured.keep("other context", _shaken(client_context()))
    assert secured.session("other context") is None


def _shaken(context: ssl.SSLContext) -> ssl.SSLObject:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(back, there, server_hostname="localhost")
    theirs = server_context().wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert ours.version() == "TLSv1.3"
    try:
        ours.read(1)  # the tickets
    except ssl.SSLWantReadError:
        pass
    return ours
