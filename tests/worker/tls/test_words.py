"""What OpenSSL knew, in words."""

from __future__ import annotations

import ssl

import pytest

from muxproxy.worker.tls.words import described


class Said(ssl.SSLError):
    def __init__(self, reason: str | None) -> None:
        super().__init__(1, "what OpenSSL prints")
        self.reason = reason


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "TLS: the server refused: unknown ca"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "TLS: the server refused: certificate expired"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLS: the server refused: certificate required"),
        ("TLSV1_UNRECOGNIZED_NAME", "TLS: the server refused: unrecognized name"),
        ("WRONG_VERSION_NUMBER", "TLS: the server does not speak TLS here (wrong version number)"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "TLS: decryption failed or bad record mac"),
        (None, "TLS: unknown error"),
    ],
)
def test_a_reason_is_a_sentence(reason: str | None, text: str) -> None:
    assert described(Said(reason), "server") == text
