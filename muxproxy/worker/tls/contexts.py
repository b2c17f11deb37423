"""OpenSSL's contexts of a worker: one for each way in which a backend speaks TLS, made when it is first
wanted.

Their files are looked at every second, a stat() for each: where one has changed there is another context
for who connects from then on. What cannot be read leaves what there was, and is said once for each change; so
a key and its certificate may be exchanged one after the other, which do not fit in between.

Sessions (RFC 8446 section 2.2): OpenSSL gives a client the session of a connection, and Python the means to
offer it in the next one; neither keeps any. The latest is kept here for each server and name, MOST of them,
in the context that it belongs to. To clients OpenSSL issues tickets by itself, good for this context and two
hours, its default; nothing of them is kept here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from muxproxy.config.model import ClientsTls, UpstreamTls
from muxproxy.config.tls.certificates import DAY
from muxproxy.config.tls.files import TlsFileError, clients_context, days, files, upstream_context

LOOK_EVERY: Final = 1.0  # seconds
FEW_DAYS: Final = 14.0
TELL_EVERY: Final = DAY  # a certificate that ends soon is told again
MOST: Final = 1024  # sessions, and servers whose certificates are known, of one context
CLIENTS, UPSTREAM = "clients", "upstream"
K = TypeVar("K")
V = TypeVar("V")
Stamp = tuple[tuple[int, int, int] | None, ...]


class Secured:
    """One way of speaking TLS."""

    def __init__(self, backend: str, protocol: str, tls: UpstreamTls | ClientsTls) -> None:
        self.backend = backend
        self.tls = tls
        self.side = UPSTREAM if isinstance(tls, UpstreamTls) else CLIENTS
        self.context: ssl.SSLContext | None = None
        self.error = ""  # why there is none, or none from what is there now
        self.handshakes = self.resumed = self.failed = 0
        # whose -> the end of its certificate, seconds since 1970; "": our own
        self.ends: dict[str, float] = {}
        self._protocol = protocol
        self._stamp: Stamp | None = None
        self._sessions: dict[str, ssl.SSLSession] = {}

    def look(self, now: float) -> bool:
        """True: a file is another one now. `now`: seconds since 1970."""
        stamp = tuple(map(_stamp, files(self.tls)))
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            if isinstance(self.tls, UpstreamTls):
                self.context = upstream_context(self.tls, self._protocol)
            else:
                self.context = clients_context(self.tls, self._protocol)
        except TlsFileError as error:
            self.error = f"{self.side}.tls.{error.key}: {getattr(self.tls, error.key)}: {error}"
            return True
        self.error = ""
        self._sessions = {}  # perhaps of servers that are not to be trusted any more
        if self.tls.cert_file:
            try:
                self.ends[""] = now + days(self.tls.cert_file, now) * DAY
            except (OSError, ValueError):  # it was another one a moment ago
                self._stamp = None
        return True

    def session(self, server: str) -> ssl.SSLSession | None:
        return self._sessions.get(server)

    def keep(self, server: str, tls: ssl.SSLObject) -> None:
        """Of a connection that may still be of the context before."""
        session = tls.session
        if session is not None and tls.context is self.context:
            _put(self._sessions, server, session)

    def on_server(self, address: str, certificate: dict[str, Any] | None) -> None:
        """What it has shown, and we have checked."""
        if certificate and "notAfter" in certificate:
            _put(self.ends, address, float(ssl.cert_time_to_seconds(certificate["notAfter"])))

    def days(self, now: float) -> dict[str, float]:
        """Of which -> how many are left: our own, and those of the server that has the fewest."""
        own, others = self.ends.get(""), [end for address, end in self.ends.items() if address]
        found = {} if own is None else {self.side: (own - now) / DAY}
        return found | ({"server": (min(others) - now) / DAY} if others else {})


def _put(table: dict[K, V], key: K, value: V) -> None:
    """The oldest goes where there are too many (P7)."""
    table.pop(key, None)
    table[key] = value
    if len(table) > MOST:
        del table[next(iter(table))]


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Tells one file of that name from the next, be it written anew or put in its place."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


class Contexts:
    """All of a worker. `later`, `log`: as mux.ports.World. `date`: seconds since 1970."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        log: Callable[..., None],
        date: Callable[[], float],
    ) -> None:
        self._later = later
        self.log = log
        self._date = date
        self._all: dict[tuple[str, str, UpstreamTls | ClientsTls], Secured] = {}
        self._of: dict[str, list[Secured]] = {}  # the same, by backend
        self._told: dict[tuple[str, str, str], float] = {}  # backend, side, whose -> when it was warned of
        self._looking = False

    def of(self, backend: str, protocol: str, tls: UpstreamTls | ClientsTls) -> Secured:
        key = (backend, protocol, tls)
        secured = self._all.get(key)
        if secured is None:
            secured = self._all[key] = Secured(backend, protocol, tls)
            self._of.setdefault(backend, []).append(secured)
            self._look_at(secured)
            if not self._looking:
                self._looking = True
                self._later(LOOK_EVERY, self.look)
        return secured

    def keep_only(self, backend: str, wanted: tuple[UpstreamTls | ClientsTls | None, ...]) -> None:
        """After a reload; () where it is gone. Others that are still wanted are made anew."""
        for key in [key for key in self._all if key[0] == backend and key[2] not in wanted]:
            self._of[backend].remove(self._all.pop(key))
        if not self._of.get(backend, True):
            del self._of[backend]

    def look(self) -> None:
        for secured in self._all.values():
            self._look_at(secured)
        self._looking = len(self._all) > 0
        if self._looking:
            self._later(LOOK_EVERY, self.look)

    def _look_at(self, secured: Secured) -> None:
        had = secured.context
        where = {"backend": secured.backend, "side": secured.side}
        if secured.look(self._date()):
            if secured.error:
                self.log("TLS files cannot be used", level="error", **where, error=secured.error)
            elif had is not None:
                self.log("TLS files read again", **where)
        self._warn(secured)

    def _warn(self, secured: Secured) -> None:
        now = self._date()
        for whose, end in secured.ends.items():
            key = (secured.backend, secured.side, whose)
            if end - now < FEW_DAYS * DAY and now - self._told.get(key, -TELL_EVERY) >= TELL_EVERY:
                _put(self._told, key, now)
                fields = {"backend": secured.backend, "whose": whose or secured.side}
                left = round((end - now) / DAY, 1)
                self.log("certificate expires soon", level="warning", **fields, days=left)

    def statistics(self, backend: str) -> dict[str, Any]:
        """For the backend's snapshot; {} without TLS."""
        if backend not in self._of:
            return {}
        now, told = self._date(), {}
        for secured in self._of[backend]:
            tls = secured.tls
            is_checked = tls.verify if isinstance(tls, UpstreamTls) else tls.ca_file != ""
            told[secured.side] = {
                "verified": is_checked,
                "handshakes": secured.handshakes,
                "resumed": secured.resumed,
                "failed": secured.failed,
                "error": secured.error,
                "days": {whose: round(left, 2) for whose, left in secured.days(now).items()},
            }
        return {"tls": told}
