"""Which build of the heart this run of the tests is to prove: tests/run.sh says it, for the second one."""

from __future__ import annotations

import os

from muxproxy.native import PURE

TESTED = os.environ.get("MUXPROXY_TESTED", PURE)
