from __future__ import annotations

import dataclasses

from voicefsm.embedded import EmbeddedSettings
from voicefsm.values import bounds_of


def test_every_field_says_what_it_is_and_its_default_is_allowed():
    """Otherwise the settings page has holes, or the default is refused."""
    bounds = bounds_of(EmbeddedSettings)
    assert list(bounds) == [field.name for field in dataclasses.fields(EmbeddedSettings)]
    for name, value in dataclasses.asdict(EmbeddedSettings()).items():
        assert bounds[name].doc.endswith(".")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            least, most = bounds[name].ge, bounds[name].le
            assert least is not None
            assert most is not None
            assert least <= value <= most


def test_the_responder_gets_its_part():
    """Otherwise its settings do nothing."""
    llm = EmbeddedSettings(host="127.0.0.2", llm_port=1, llm_first_token_ms=2, llm_tokens_per_s=3.0, llm_connections_max=4).llm
    assert (llm.host, llm.port, llm.first_token_ms, llm.tokens_per_second, llm.connections_max) == ("127.0.0.2", 1, 2, 3.0, 4)
