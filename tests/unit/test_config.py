"""Settings: four sources, one declaration, every problem at once."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import pytest

from voicefsm import config
from voicefsm.context import Interruption, TurnSettings
from voicefsm.errors import SettingsError
from voicefsm.values import bounds_of, checked_replace, refusal, setting


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Settings of nobody, with one field of every kind."""

    count: int = setting(3, unit="words", ge=1, le=5, doc="A whole number.")
    ratio: float = setting(0.5, unit="", ge=0, le=2, doc="A number.")
    switch: bool = setting(False, unit="", doc="A switch.")
    mode: Interruption = setting(Interruption.ENABLED, unit="", doc="One of a few.")
    text: str = setting("ab", unit="characters", ge=1, le=4, doc="A text.")
    names: tuple[str, ...] = setting((), unit="names", le=3, doc="A list.")
    api_key: str = setting("", unit="", doc="A secret.", secret=True)

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        if self.switch and self.count == 5:
            raise ValueError("switch and count 5 exclude each other.")


SECTIONS = {"sample": Sample}


@pytest.fixture(autouse=True)
def _no_settings_around_us(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith(config.PREFIX):
            monkeypatch.delenv(name)


def load(**sources) -> Sample:
    sample: Sample = config.load_sections(SECTIONS, **sources)["sample"]
    return sample


def problems(**sources) -> str:
    with pytest.raises(SettingsError) as raised:
        load(**sources)
    return raised.value.message


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- sources -----------------------------------------------------------------------------------------------------------------


def test_nothing_said_means_the_declared_defaults():
    """Otherwise a default would have two places, and they would drift apart."""
    assert load() == Sample()
    assert config.load() == config.Settings()


def test_a_stronger_source_wins_and_a_weaker_one_fills_in(monkeypatch, tmp_path):
    """Otherwise an operator could not override a deployed file for one run."""
    file = write(tmp_path / "v.toml", "[sample]\ncount = 1\nratio = 1.5\ntext = 'file'\nnames = ['a', 'b']")
    monkeypatch.setenv("VOICEFSM_SAMPLE__COUNT", "2")
    monkeypatch.setenv("VOICEFSM_SAMPLE__RATIO", "1.25")
    settings = load(file=file, overrides=["sample.count=4"])
    assert (settings.count, settings.ratio, settings.text, settings.names) == (4, 1.25, "file", ("a", "b"))


def test_what_was_found_out_is_heard_where_nobody_says_anything(monkeypatch, tmp_path):
    """Otherwise the backends that `serve --embedded` starts would take the place of those the operator named."""
    file = write(tmp_path / "v.toml", "[sample]\ntext = 'file'")
    monkeypatch.setenv("VOICEFSM_SAMPLE__COUNT", "2")
    found = config.Source("the backends", {"sample": {"text": "f", "count": 4, "ratio": 1.5}})
    settings = load(file=file, fallback=found)
    assert (settings.text, settings.count, settings.ratio) == ("file", 2, 1.5)
    found = config.Source("the backends", {"sample": {"text": ""}})
    assert "sample.text = '': must be between 1 and 4 characters long, from the backends" in problems(fallback=found)


def test_the_environment_can_name_the_file(monkeypatch, tmp_path):
    """Otherwise a container could not be configured without changing its command."""
    monkeypatch.setenv("VOICEFSM_CONFIG", str(write(tmp_path / "v.toml", "[sample]\ncount = 1")))
    assert load().count == 1


def test_texts_become_what_the_field_is(monkeypatch):
    """Otherwise the environment could set texts only."""
    for name, value in {"SWITCH": "true", "MODE": "disabled", "NAMES": "a, b", "RATIO": "1"}.items():
        monkeypatch.setenv(f"VOICEFSM_SAMPLE__{name}", value)
    settings = load()
    assert (settings.switch, settings.mode, settings.names, settings.ratio) == (True, Interruption.DISABLED, ("a", "b"), 1.0)
    assert load(overrides=['sample.names=["x, y"]']).names == ("x, y",)


def test_another_process_may_share_environment_and_file(monkeypatch, tmp_path):
    """Otherwise `serve --embedded` could not hand its surroundings down to the embedded backends."""
    monkeypatch.setenv("VOICEFSM_EMBEDDED__ANYTHING", "1")
    monkeypatch.setenv("VOICEFSM_TURNS__SILENCE_MS", "700")
    assert load(file=write(tmp_path / "v.toml", "[embedded]\nx = 1\n[turns]\nguard_ms = 1")) == Sample()


# --- secrets -----------------------------------------------------------------------------------------------------------------


def test_a_secret_comes_from_a_file_and_never_shows_itself(monkeypatch, tmp_path):
    """Otherwise keys would stand in process listings, logs and tracebacks."""
    key = write(tmp_path / "key", "s3cret\n")
    for source in (
        {"file": write(tmp_path / "v.toml", f"[sample]\napi_key_file = '{key}'")},
        {"overrides": [f"sample.api_key_file={key}"]},
    ):
        settings = load(**source)
        assert settings.api_key == "s3cret"
        assert "s3cret" not in repr(settings)
    monkeypatch.setenv("VOICEFSM_SAMPLE__API_KEY_FILE", str(key))
    assert load().api_key == "s3cret"
    monkeypatch.setenv("VOICEFSM_SAMPLE__API_KEY_FILE", str(tmp_path / "nowhere"))
    assert "sample.api_key_file: cannot read" in problems()


def test_a_directory_of_secrets(monkeypatch, tmp_path):
    """Otherwise a mounted secret would need one variable per key, and a misnamed one would be silently ignored."""
    write(tmp_path / "sample__api_key", "s3cret")
    write(tmp_path / "tls.crt", "not ours")
    monkeypatch.setenv("VOICEFSM_SECRETS_DIR", str(tmp_path))
    assert load().api_key == "s3cret"
    assert load(overrides=["sample.api_key=stronger"]).api_key == "stronger"
    write(tmp_path / "sample__api_kee", "s3cret")
    assert "no such secret; did you mean sample__api_key?" in problems()
    monkeypatch.setenv("VOICEFSM_SECRETS_DIR", str(tmp_path / "nowhere"))
    assert "cannot read the secrets directory" in problems()


def test_a_wrong_secret_is_not_told(monkeypatch):
    """Otherwise the message about a bad key would publish it."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Keys:
        key: str = setting("", unit="characters", le=3, doc="A secret.", secret=True)

    monkeypatch.setenv("VOICEFSM_KEYS__KEY", "s3cret")
    with pytest.raises(SettingsError) as raised:
        config.load_sections({"keys": Keys})
    assert "keys.key: must be at most 3 characters long" in str(raised.value)
    assert "s3cret" not in str(raised.value)


# --- problems ----------------------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_with_its_source(monkeypatch, tmp_path):
    """Otherwise an operator would find them one restart at a time."""
    file = write(tmp_path / "v.toml", "[sample]\ncount = 9\ncuont = 1\nmode = 'maybe'\n[smaple]\nx = 1")
    monkeypatch.setenv("VOICEFSM_SAMPLE__SWITCH", "perhaps")
    monkeypatch.setenv("VOICEFSM_SAMPLE__RATOI", "1")
    told = problems(file=file, overrides=["sample.text=", "sample.ratio=nan", "nonsense", "embedded.x=1"])
    for line in (
        f"sample.count = 9: must be between 1 and 5 words, from the file {file}",
        f"sample.cuont: no such setting, from the file {file}; did you mean count?",
        f"sample.mode = 'maybe': must be one of 'enabled', 'client_only' or 'disabled', from the file {file}",
        f"smaple: no such section, from the file {file}; did you mean sample?",
        "sample.switch = 'perhaps': must be true or false, from the environment variable VOICEFSM_SAMPLE__SWITCH",
        "VOICEFSM_SAMPLE__RATOI: no such setting (an environment variable); did you mean VOICEFSM_SAMPLE__RATIO?",
        "sample.text = '': must be between 1 and 4 characters long, from the command line",
        "sample.ratio = 'nan': must be a finite number, from the command line",
        "--set nonsense: must have the form SECTION.NAME=VALUE",
        "embedded: no such section, from the command line; there are sample",
    ):
        assert f"  - {line}" in told.splitlines()
    assert told.startswith("10 problems")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sample = 3", "sample: must be a section, [sample]"),
        ("[sample]\ncount = 1.5", "sample.count = 1.5: must be a whole number of words"),
        ("[sample]\ncount = 'x'", "sample.count = 'x': must be a whole number of words"),
        ("[sample]\ntext = 5", "sample.text = 5: must be a text"),
        ("[sample]\nnames = ['a', 'b', 'c', 'd']", "must be at most 3 names"),
        ("[sample]\ncount = 5\nswitch = true", "sample: switch and count 5 exclude each other."),
        ("[sample", "cannot read the settings file"),
    ],
)
def test_a_bad_file(tmp_path, text, told):
    """Otherwise the gateway would run with settings other than those written down."""
    assert told in problems(file=write(tmp_path / "v.toml", text))


def test_a_missing_file_is_an_error(tmp_path):
    """Otherwise a mistyped path would mean the defaults."""
    assert "nowhere.toml: no such file" in problems(file=tmp_path / "nowhere.toml").lower()


# --- what is declared --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "kind"), config.SECTIONS.items())
def test_every_field_of_every_section_is_declared_as_a_setting(section, kind):
    """Otherwise a field could be reached by no operator, or stand undocumented."""
    assert {field.name for field in dataclasses.fields(kind)} == set(bounds_of(kind))
    for entry in config.entries(section, kind):
        assert entry.bounds.doc.endswith("."), entry.name
        assert refusal(getattr(kind(), entry.name), entry.bounds) == "", entry.name


# --- per-session changes -----------------------------------------------------------------------------------------------------


def test_a_session_may_change_settings_within_the_same_bounds():
    """Otherwise a client could set what the operator cannot."""
    changed = checked_replace(TurnSettings(), silence_ms=700, push_to_talk=True)
    assert (changed.silence_ms, changed.push_to_talk) == (700, True)
    with pytest.raises(ValueError, match=r"silence_ms is 99, and must be between 100 and 3000 ms\."):
        checked_replace(TurnSettings(), silence_ms=99)
    with pytest.raises(ValueError, match="there is no setting silense_ms"):
        checked_replace(TurnSettings(), silense_ms=99)


def test_not_a_number_is_within_no_bounds():
    """Otherwise a NaN from the wire would pass every comparison."""
    with pytest.raises(ValueError, match="ratio is nan"):
        checked_replace(Sample(), ratio=math.nan)


@pytest.mark.parametrize(
    ("setting_name", "good", "bad"),
    [
        (
            "llm.base_url",
            ["http://h/v1", "https://h:8000/v1", "http://[::1]:8/v1"],
            ["localhost:8000", "ftp://h/v1", "http://", ""],
        ),
        ("riva.target", ["h:1", "127.0.0.1:50051", "[::1]:50051", "dns:///riva:50051"], ["foo", "h:", ":50051", "http://h:1", ""]),
    ],
)
def test_addresses_have_their_shape(setting_name, good, bad):
    """Otherwise a forgotten scheme or port would be found by the first caller."""
    for address in good:
        config.load(overrides=[f"{setting_name}={address}"])
    for address in bad:
        with pytest.raises(SettingsError, match="must look like"):
            config.load(overrides=[f"{setting_name}={address}"])


def test_an_unknown_section_is_answered_with_those_there_are():
    """Otherwise a newcomer would have to guess."""
    with pytest.raises(SettingsError, match="no such section, from the command line; there are aec, asr, "):
        config.load(overrides=["microphone.level=1"])


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, False),
        ({"OTEL_SERVICE_NAME": "concierge"}, False),
    ],
)
def test_traces_are_asked_for_by_the_standard_variables(variables, wanted, monkeypatch):
    """Otherwise a platform that sets them for every pod has to know us; or everybody pays for traces."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert config.wants_traces() is wanted
