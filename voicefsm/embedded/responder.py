"""The embedded "language model": rules, and it says so. A pure function of the messages of a conversation."""

from __future__ import annotations
