"""Conversations in virtual time: fakes on the asyncio clock, driven by a seed."""
