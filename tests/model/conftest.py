"""What the model checker's tests share. They are a program of several files: the root of the repository is on the path."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Searches keep millions of tuples, none in a cycle: the collector would look at them again and again."""
    gc.disable()
    yield
    gc.enable()
