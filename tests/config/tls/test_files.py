"""Files of [clients.tls] and [upstream.tls]: what OpenSSL cannot use is a problem of the key that names
it."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.config.identity import Identity
from muxproxy.config.load import examine
from muxproxy.config.model import ClientsTls, UpstreamTls
from muxproxy.config.tls.files import TlsFileError, clients_context, days, files, unreadable, upstream_context
from tests.certificates import made
from tests.config.models import backend

SERVER, OTHER = made("server"), made("other")
BACKEND = """
protocol = "http"
[clients]
listen = ["127.0.0.1:8080", "tls:127.0.0.1:8443"]
tls = {{ cert_file = "{cert}", key_file = "{key}" }}
[upstream]
servers = ["api.internal:443"]
[upstream.tls]
ca_file = "{ca}"
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.pem"
    path.write_text("no certificate\n")
    return path


def test_the_contexts_are_strict() -> None:
    context = upstream_context(UpstreamTls(ca_file=SERVER.ca), "redis")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert upstream_context(UpstreamTls(), "http").verify_mode == ssl.CERT_REQUIRED  # the system's CAs
    newer = upstream_context(UpstreamTls(min_version="1.3", verify=False), "http")
    assert (newer.verify_mode, newer.minimum_version) == (ssl.CERT_NONE, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize(
    ("ca", "ask", "mode"),
    [("", "required", 0), (SERVER.ca, "optional", 1), (SERVER.ca, "required", 2)],
    ids=["none", "optional", "required"],
)
def test_clients_are_asked_as_it_is_written(ca: str, ask: str, mode: int) -> None:
    context = clients_context(ClientsTls(SERVER.cert, SERVER.key, ca, ask), "tcp")
    assert context.verify_mode == ssl.VerifyMode(mode)


@pytest.mark.parametrize(
    ("key", "tls", "rule"),
    [
        ("ca_file", UpstreamTls("/none"), "cannot be read: No such file or directory"),
        (
            "ca_file",
            UpstreamTls("BROKEN"),
            "has no certificate that can be read (no certificate or crl found)",
        ),
        ("cert_file", UpstreamTls("", "", "/none", SERVER.key), "cannot be read"),
        ("key_file", UpstreamTls("", "", SERVER.cert, "/none"), "cannot be read"),
        ("key_file", UpstreamTls("", "", SERVER.cert, OTHER.key), "is not the key of the certificate in"),
        ("key_file", UpstreamTls("", "", SERVER.cert, "BROKEN"), "has no key that can be read"),
        ("cert_file", UpstreamTls("", "", "BROKEN", SERVER.key), "has no certificate that can be read"),
        ("cert_file", UpstreamTls("", "", SERVER.cert), "has no certificate and key that can be read"),
        (
            "key_file",
            UpstreamTls("", "", SERVER.cert, "LOCKED"),
            "its key has a passphrase: muxproxy asks nobody",
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_its_key(
    key: str, tls: UpstreamTls, rule: str, broken: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    if "LOCKED" in files(tls):
        words = ["ec", "-in", SERVER.key, "-aes128", "-passout", "pass:hush", "-out", str(locked)]
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    paths = {"BROKEN": str(broken), "LOCKED": str(locked)}
    values = [paths.get(str(value), value) for value in (tls.ca_file, "", tls.cert_file, tls.key_file)]
    with pytest.raises(TlsFileError) as told:
        upstream_context(UpstreamTls(*values), "http")
    assert told.value.key == key
    assert str(told.value).startswith(rule)


@pytest.mark.parametrize(
    ("protocol", "alpn", "agreed"),
    [("http", "", "http/1.1"), ("tcp", "", None), ("tcp", "postgresql", "postgresql")],
)
def test_the_protocol_has_its_name_on_both_sides(protocol: str, alpn: str, agreed: str | None) -> None:
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = upstream_context(UpstreamTls(ca_file=SERVER.ca, alpn=alpn), protocol)
    theirs = clients_context(ClientsTls(SERVER.cert, SERVER.key, alpn=alpn), protocol)
    ends = ours.wrap_bio(one, two, server_hostname="localhost"), theirs.wrap_bio(two, one, server_side=True)
    for end in ends * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert [end.selected_alpn_protocol() for end in ends] == [agreed] * 2


def test_a_file_that_cannot_be_used_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text(BACKEND.format(cert=SERVER.cert, key=SERVER.key, ca=SERVER.ca))
    assert examine(path).problems == []
    path.write_text(BACKEND.format(cert=SERVER.cert, key=OTHER.key, ca="/none.pem"))
    problems = examine(path).problems
    assert [(p.key, p.value) for p in problems] == [
        ("clients.tls.key_file", f'"{OTHER.key}"'),
        ("upstream.tls.ca_file", '"/none.pem"'),
    ]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("\ntls = {", "\n# tls = {", "clients.listen"),
        ("ca_file = ", "key_file = ", "upstream.tls.key_file"),
        ('"api.internal:443"', '"unix:/run/app.sock"', "upstream.servers"),
        ("ca_file = ", "verify = 1\nca_file = ", "upstream.tls.verify"),
        ("ca_file = ", 'server_name = "a b"\nca_file = ', "upstream.tls.server_name"),
        ("ca_file = ", 'min_version = "1.1"\nca_file = ', "upstream.tls.min_version"),
        ("ca_file = ", 'alpn = "h2"\nca_file = ', "upstream.tls.alpn"),
        ("ca_file = ", 'alpn = "a b"\nca_file = ', "upstream.tls.alpn"),
        ("ca_file = ", 'ca_flie = "/x"\nca_file = ', "upstream.tls.ca_flie"),
        ('tls = {{ cert_file = "{cert}", ', "tls = {{ ", "clients.tls.cert_file"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, key: str, tmp_path: Path) -> None:
    assert old in BACKEND
    path = tmp_path / "web.toml"
    path.write_text(BACKEND.replace(old, new).format(cert=SERVER.cert, key=SERVER.key, ca=SERVER.ca))
    assert [problem.key for problem in examine(path).problems] == [key]


def test_who_is_not_checked_and_who_may_read_the_key_is_said_aloud(tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    shutil.copy(SERVER.key, key)
    key.chmod(0o644)
    path = tmp_path / "web.toml"
    text = BACKEND.replace("ca_file = ", "verify = false\nca_file = ").replace(', "tls:127.0.0.1:8443"', "")
    path.write_text(text.format(cert=SERVER.cert, key=key, ca=SERVER.ca))
    told = {warning.key: warning.rule for warning in examine(path).warnings}
    assert told["upstream.tls.verify"].startswith("NOT VERIFIED")
    assert "no listener begins with" in told["clients.tls"]


def test_the_days_are_those_of_the_certificate_that_is_shown() -> None:
    assert 0 < days(made("soon").cert, 0.0) - days(SERVER.cert, 0.0) + 26 < 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """That others may go through, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="muxproxy-open-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_a_key_that_workers_cannot_read_is_told_before_they_try(open_folder: Path) -> None:
    key = open_folder / "own.key"
    shutil.copy(SERVER.key, key)
    one = backend(clients__tls=ClientsTls(str(key), "/none.pem"))
    other, group = os.geteuid() + 1, os.getegid()
    for mode, who, told in (
        (0o600, None, []),
        (0o600, Identity(0, 0, []), []),
        (0o600, Identity(other, group, []), ["clients.tls.cert_file"]),
        (0o640, Identity(other, group + 1, [group]), []),
        (0o604, Identity(other, group, []), ["clients.tls.cert_file"]),  # of the group, which may not
        (0o604, Identity(other, group + 1, []), []),
    ):
        key.chmod(mode)
        found = list(unreadable(one, "proxy", who))
        assert [problem.key for problem in found] == told, oct(mode)
        assert all("workers run as proxy, who cannot read it" in problem.rule for problem in found)


def test_of_the_systems_cas_a_folder_is_asked_and_a_bundle_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "certs"
    shutil.copy(SERVER.ca, bundle)
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert upstream_context(UpstreamTls(), "tcp").cert_store_stats()["x509_ca"] == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    (folder / "5ed36f99.0").symlink_to(SERVER.ca)
    assert upstream_context(UpstreamTls(), "tcp").cert_store_stats()["x509_ca"] == 0, "not yet"
