"""Mutated messages by the million, for the codec: `python -m tests.abuse.fuzz SECONDS [SEED]`; test_wire.py shrinks."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from tests.properties.test_wire import SEEDS, take


def mutant(chance: random.Random) -> bytes:
    """A good message, with some of it changed, cut out, doubled or put in."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(1, 7)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(9))
        else:
            data[at:at] = data[at : at + chance.randrange(1, 31)]
    return bytes(data)


def main(seconds: float, seed: int) -> None:
    """Until the time is over; whatever is neither understood nor refused ends it."""
    chance, fates, until = random.Random(seed), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(1000):
            data = mutant(chance)
            try:
                fates[take(data)] += 1
            except BaseException:
                print(f"crashed by {data!r}")
                raise
    told = ", ".join(f"{count} {fate}" for fate, count in fates.most_common())
    print(f"fuzz: {fates.total()} messages, 0 crashes ({told}; as the first message, and as a later one)")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
