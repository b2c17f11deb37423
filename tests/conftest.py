"""What all tests share: the repository's root on the import path, and laws that do not judge the machine.

`tests.system.load` is then one module for pytest and for the children that run it with `python -m` from the
root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# An example may take as long as a busy machine needs. Hypothesis has the same, and the same examples at every
# run, where it finds CI in the environment.
if not os.environ.get("CI"):
    off = [HealthCheck.too_slow]  # it judges the machine, not the law
    settings.register_profile("busy", deadline=None, suppress_health_check=off)
    settings.load_profile("busy")
