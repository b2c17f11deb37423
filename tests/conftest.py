"""What all tests share: the repository's root on the import path, so that `tests.system.load` is one module everywhere.

Children of the system tests import the same modules with `python -m`, run from the root.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
