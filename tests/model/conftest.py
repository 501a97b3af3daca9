"""What the model checker's tests share. They are a program of several files: the root of the repository is on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
