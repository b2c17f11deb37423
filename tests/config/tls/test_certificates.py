"""Until when a certificate is valid, as OpenSSL reads it, too."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.tls.certificates import DAY, days_left
from tests.certificates import folder, made


@pytest.mark.parametrize(
    "path",
    [made("server").cert, made("expired").cert, str(folder() / "ca.pem")],
    ids=["server", "expired", "ca"],
)
def test_it_is_what_openssl_says(path: str) -> None:
    told = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-enddate"], check=True, capture_output=True
    )
    end = ssl.cert_time_to_seconds(told.stdout.decode().strip().removeprefix("notAfter="))
    assert days_left(Path(path).read_bytes(), end - 3.5 * DAY) == 3.5


def test_beyond_2049_the_date_has_another_form(tmp_path: Path) -> None:
    path, key = str(tmp_path / "far.pem"), str(tmp_path / "far.key")
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    subprocess.run(
        ["openssl", *words, "-days", "20000", "-keyout", key, "-out", path], check=True, capture_output=True
    )
    now = ssl.cert_time_to_seconds("Jan  1 00:00:00 2026 GMT")
    assert days_left(Path(path).read_bytes(), now) > 19000


@given(st.binary(max_size=60))
def test_what_is_no_certificate_is_an_error_and_nothing_else(data: bytes) -> None:
    good = re.split(rb"\n", Path(made("server").cert).read_bytes())
    cut = b"\n".join([good[0], *good[1:4], data.hex().encode(), good[-2]])
    for text in (data, b"-----BEGIN CERTIFICATE-----" + data + b"-----END", cut):
        with pytest.raises(ValueError, match="no certificate"):
            days_left(text, 0.0)
