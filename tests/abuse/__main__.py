"""`python -m tests.abuse [SECONDS [ATTACK ...]]`: the table."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.abuse.attacks import ATTACKS
from tests.abuse.run import HEAD, run

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
with TemporaryDirectory() as directory:
    rows = asyncio.run(run(Path(directory), seconds, sys.argv[2:] or tuple(ATTACKS)))
print(HEAD)
for row in rows:
    print(row.line())
bad = [row for row in rows if row.outcome != "held"]
worst = max(rows, key=lambda row: row.added_ms)
print(f"abuse: {len(rows)} attacks, {len(bad)} not held; most added to a bystander's p99: {worst.added_ms:.1f} ms ({worst.attack})")
sys.exit(bool(bad))
