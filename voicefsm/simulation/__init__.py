"""Conversations in virtual time.

Three layers, each usable alone:

- `scenario` and `replay`: the machine by itself, told facts that somebody wrote down or recorded.
- `fakes`, `client`, `stage`: one session of the runtime, scripted by a test to the last detail.
- `script`, `faulty`, `caller`, `invariants`, `play`, `simulate`: hours of sessions on a `virtual` loop, decided by a seed, with
  everything going wrong that can, and rules that hold all the same.
"""
