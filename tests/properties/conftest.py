"""How far the properties look. `pytest tests/properties --hypothesis-profile thorough` is what `tox -e properties` runs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("thorough", max_examples=20 * settings.get_profile("default").max_examples)
