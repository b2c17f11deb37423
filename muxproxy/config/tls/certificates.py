"""Until when a certificate is valid: the one field of X.509 that an operator must know in time.

Python's ssl tells it of a peer's certificate and of none that we show ourselves. So it is read here: DER is
length and content all the way down (X.690), and RFC 5280 section 4.1 says in which order the fields come.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime

DAY = 86400.0
_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17


def days_left(pem: bytes, now: float) -> float:
    """Of the first certificate. Raises ValueError if there is none; `now`: seconds since 1970."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate")
    try:
        return (_not_after(binascii.a2b_base64(found[1])) - now) / DAY
    except (IndexError, UnicodeDecodeError, binascii.Error) as error:
        raise ValueError(f"no certificate: {error}") from None


def _not_after(der: bytes) -> float:
    _, certificate, _ = _next(der)
    _, fields, _ = _next(certificate)  # TBSCertificate
    tag, _, rest = _next(fields)
    if tag == _VERSION:
        _, _, rest = _next(rest)
    for _ in ("signature", "issuer"):  # behind the serial number
        _, _, rest = _next(rest)
    _, validity, _ = _next(rest)
    _, _, after = _next(validity)
    tag, when, _ = _next(after)
    text = when.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280 section 4.1.2.5.1: 50 to 99 are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _next(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of what comes first, and what is behind it."""
    length, at = der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at], "big")
    if at + length > len(der):
        raise IndexError("it ends too early")
    return der[0], der[at : at + length], der[at + length :]
