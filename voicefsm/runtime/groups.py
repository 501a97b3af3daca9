"""Errors out of task groups, without knots.

An error holds the frames it passed. A frame that holds the error, or something that leads to it, makes a knot which only the cyclic
garbage collector undoes, and with it goes all that the frames hold: a session, for instance. `asyncio.TaskGroup` makes several: its
own frame keeps what it raises, and `raise error from group` ties the error to the group that contains it. So the error is taken
out of its group, and raised where nobody handles the group and no variable keeps it.
"""

from __future__ import annotations

from typing import NoReturn


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """The error that ended a task group; the others followed from it. The traceback of the group itself tells nothing, and goes."""
    group.__traceback__ = None
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, ExceptionGroup) else error


def raised(errors: list[Exception]) -> NoReturn:
    """Raise the last error of a list, which then no longer holds it. Call it outside of any `except`."""
    raise errors.pop()
