"""What OpenSSL knew about a connection that failed, in words for operators.

All of them begin with `TLS`, so that who reads an error of a connect sees which of the two it was.
"""

from __future__ import annotations

import re
import ssl

from muxproxy.mux.ports import SAID_BY_TLS

# OpenSSL's reasons that mean the peer does not speak TLS: what came is no record of it.
_PLAIN = frozenset(
    (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "BAD_RECORD_TYPE",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
    )
)
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(.+)|(?:TLSV13|TLSV1)_(.+)")
CUT = f"{SAID_BY_TLS}the connection ended in the middle of the handshake"


class TlsError(Exception):
    """Ends a connection, as an OSError does one without TLS."""


def described(error: ssl.SSLError, peer: str) -> str:
    """`peer`: "server" or "client"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{SAID_BY_TLS}the {peer}'s certificate: {error.verify_message.rstrip('.')}"
    reason = error.reason or "unknown error"
    if reason in _PLAIN:
        return f"{SAID_BY_TLS}the {peer} does not speak TLS here ({_plain(reason)})"
    alert = _ALERT.fullmatch(reason)
    if alert is not None:
        return f"{SAID_BY_TLS}the {peer} refused: {_plain(alert[1] or alert[2])}"
    return f"{SAID_BY_TLS}{_plain(reason)}"


def _plain(reason: str) -> str:
    return reason.lower().replace("_", " ")
