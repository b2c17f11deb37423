"""The origin that speaks TLS is the plain one but for that."""

from __future__ import annotations

from pathlib import Path

from tests.bench import tls
from tests.certificates import made


def test_what_is_measured_is_spoken_by_tls_and_what_is_asked_besides_is_not(tmp_path: Path) -> None:
    tls.secure_origin(tmp_path, [8001, 8002], 8003)
    text = (tmp_path / "nginx.conf").read_text()
    assert [line.split()[1:3] for line in text.splitlines() if "listen" in line] == [
        ["127.0.0.1:8001", "ssl"],
        ["127.0.0.1:8002", "ssl"],
        ["127.0.0.1:8003;"],
    ]
    assert text.count(made("server").cert) == 1
