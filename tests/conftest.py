"""What all tests share: the repository's root on the import path.

`tests.system.load` is then one module for pytest and for the children that run it with `python -m` from the
root.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
