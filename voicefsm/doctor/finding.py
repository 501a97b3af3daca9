"""What a check finds."""

from __future__ import annotations

import dataclasses
import enum


class Verdict(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    """Works, but less well, or only some commands do."""
    BROKEN = "broken"
    """`serve` would not work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    """What was looked at."""
    verdict: Verdict
    detail: str
    """What was seen."""
    remedy: str = ""
    """What to do about it; empty when there is nothing to do."""

    @property
    def is_fatal(self) -> bool:
        """Is something needed missing?"""
        return self.verdict is Verdict.BROKEN


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, detail)


def note(name: str, detail: str, remedy: str) -> Finding:
    """It works, but less well."""
    return Finding(name, Verdict.NOTE, detail, remedy)


def broken(name: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name, Verdict.BROKEN, detail, remedy)
