"""How far the properties look. `pytest tests/properties --hypothesis-profile thorough` is what `tox -e properties` runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture.providers import HypothesisProvider

settings.register_profile("thorough", max_examples=20 * settings.get_profile("default").max_examples)


@pytest.fixture(autouse=True, scope="module")
def steady_share() -> Iterator[None]:
    """`make test` looks at the same examples every time, alone or among other tests, whatever else was changed.

    `derandomize` is not enough for that: hypothesis mixes in constants from the source of whatever the process has imported. Those
    are worth having in the thorough profile, which looks elsewhere every time anyway.
    """
    with pytest.MonkeyPatch.context() as patch:
        if settings().max_examples <= settings.get_profile("default").max_examples:
            patch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_args, **_more: None)
        yield
