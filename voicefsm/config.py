"""Where settings come from: the environment, a file, secrets in files, the command line. Nobody below this module asks.

Theory of operation:

- A setting is declared once, by `values.setting()` in the frozen dataclass of the package that uses it. `Settings` lists those
  dataclasses, one per section; from each a pydantic model is made here that knows the same types, defaults and bounds.
- Sources, the strongest first: the command line (`--set SECTION.NAME=VALUE`), the environment (`VOICEFSM_SECTION__NAME`), a TOML
  file (`--config` or `VOICEFSM_CONFIG`), a directory of secrets (`VOICEFSM_SECRETS_DIR`, one file `section__name` each), what the
  caller found out (a fallback: where the backends it started listen), defaults.
- A secret called NAME can also be read from the file that the setting NAME_file points to, in every source.
- What nobody declared is an error, and so is what is out of bounds. All problems are told at once, each with where it came from,
  before a port opens.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from voicefsm import footprint
from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.identities import AuthSettings
from voicefsm.adapters.jwt_settings import JwtSettings
from voicefsm.adapters.nim import LlmSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings
from voicefsm.adapters.riva_tts import RivaTtsSettings
from voicefsm.adapters.secrets import Secret
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.frame import AudioSettings
from voicefsm.context import TurnSettings
from voicefsm.errors import SettingsError
from voicefsm.runtime.breaker import BreakerSettings
from voicefsm.runtime.failover import FailoverSettings
from voicefsm.runtime.journal import JournalSettings
from voicefsm.runtime.keeper import ResumeSettings
from voicefsm.runtime.plan import SessionSettings
from voicefsm.runtime.playout import PlayoutSettings
from voicefsm.server.admission import ServerSettings
from voicefsm.server.health import HealthSettings
from voicefsm.server.tls import TlsSettings
from voicefsm.telemetry.exposition import MetricsSettings
from voicefsm.telemetry.log import Transcripts
from voicefsm.vad.settings import VadSettings
from voicefsm.values import Bounds, bounds_of, refusal, setting

PREFIX = "VOICEFSM_"
CONFIG_VARIABLE = "VOICEFSM_CONFIG"
SECRETS_VARIABLE = "VOICEFSM_SECRETS_DIR"
ELSEWHERE = frozenset({"embedded"})
"""Sections of other processes, which may share our environment and file; those processes check them."""

ENVIRONMENT = "the environment variable"
COMMAND_LINE = "the command line"

Values = Mapping[str, Mapping[str, Any]]
"""What a source says: section, name, value."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to the log."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", unit="", doc="The least urgent lines that are written.")
    format: Literal["auto", "console", "json"] = setting(
        "auto", unit="", doc="console for people, json for machines; auto is console on a terminal and json elsewhere."
    )
    transcripts: Transcripts = setting(
        Transcripts.NONE, unit="", doc="What users and assistant say: none of it, redacted (an x for each letter), or full."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the gateway. A new section is one line here."""

    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    jwt: JwtSettings = JwtSettings()
    session: SessionSettings = SessionSettings()
    turns: TurnSettings = TurnSettings()
    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    aec: AecSettings = AecSettings()
    playout: PlayoutSettings = PlayoutSettings()
    failover: FailoverSettings = FailoverSettings()
    breaker: BreakerSettings = BreakerSettings()
    health: HealthSettings = HealthSettings()
    riva: RivaChannelSettings = RivaChannelSettings()
    asr: RivaAsrSettings = RivaAsrSettings()
    tts: RivaTtsSettings = RivaTtsSettings()
    llm: LlmSettings = LlmSettings()
    resume: ResumeSettings = ResumeSettings()
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()


SECTIONS: Mapping[str, type] = typing.get_type_hints(Settings)

ServerT = TypeVar("ServerT", RivaChannelSettings, LlmSettings)


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """How to reach the servers of each backend, by where they are, in order of preference."""

    asr: Mapping[str, RivaChannelSettings]
    tts: Mapping[str, RivaChannelSettings]
    llm: Mapping[str, LlmSettings]


def places_of(settings: Settings) -> Places:
    """The servers that the settings name. Raises `SettingsError` when what is said of one does not go with its place."""
    riva, llm, failover = settings.riva, settings.llm, settings.failover
    return Places(
        asr={target: _at(riva, target=target) for target in failover.asr_targets or (riva.target,)},
        tts={target: _at(riva, target=target) for target in failover.tts_targets or (riva.target,)},
        llm={url: _at(llm, base_url=url) for url in failover.llm_base_urls or (llm.base_url,)},
    )


def _at(server: ServerT, **place: Any) -> ServerT:
    """The same kind of server at another place."""
    try:
        return dataclasses.replace(server, **place)
    except ValueError as contrary:
        raise SettingsError(f"failover: {contrary}") from contrary


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One place settings come from."""

    label: str
    """How a message names it."""
    values: Values

    def where(self, section: str, name: str) -> str:
        """How a message names the place of one setting."""
        return f"from {self.label} {env_name(section, name)}" if self.label == ENVIRONMENT else f"from {self.label}"


def wants_traces() -> bool:
    """Whether the standard variables of OpenTelemetry ask for traces. All else about them the SDK reads itself."""
    said = {name: os.environ.get(f"OTEL_{name}", "").strip() for name in ("SDK_DISABLED", "TRACES_EXPORTER", *_OTLP_ENDPOINTS)}
    if said["SDK_DISABLED"].lower() == "true" or said["TRACES_EXPORTER"] not in {"", "otlp"}:
        return False
    return bool(said["TRACES_EXPORTER"] or any(said[name] for name in _OTLP_ENDPOINTS))


_OTLP_ENDPOINTS = ("EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT")


def env_name(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{section}__{name}".upper()


NOTHING = Source("", {})


def load(*, file: Path | None = None, overrides: Iterable[str] = (), fallback: Source = NOTHING) -> Settings:
    """The gateway's settings. `overrides` are "section.name=value"; `fallback` is heard where no other source says anything.

    Raises `SettingsError` that lists everything wrong, with where it came from.
    """
    settings = Settings(**load_sections(SECTIONS, file=file, overrides=overrides, fallback=fallback))
    room, sessions = settings.riva.connections_max * settings.riva.calls_per_connection_max, settings.server.sessions_max
    if sessions > room:
        problem = f"server.sessions_max admits {sessions} sessions, and Riva can be asked by {room} of them at a time"
        raise _error([f"{problem}: raise riva.connections_max or riva.calls_per_connection_max"])
    _check_memory(settings)
    return settings


def footprint_of(settings: Settings) -> footprint.Sections:
    """What bounds the memory of sessions."""
    return footprint.Sections(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(footprint.Sections)})


def _check_memory(settings: Settings) -> None:
    """Can all sessions have what they may need? Raises `SettingsError`."""
    of, server = footprint_of(settings), settings.server
    limit = server.memory_mib_max * footprint.MIB
    needed, each = footprint.gateway_bytes(of), footprint.session_bytes(of)
    if limit and needed > limit:
        fit = max(0, server.sessions_max - -((limit - needed) // each))
        problem = (
            f"server.memory_mib_max is {server.memory_mib_max} MiB, and {server.sessions_max} sessions (server.sessions_max)"
            f" may need {-(-needed // footprint.MIB)} ({each / footprint.MIB:.1f} each)"
        )
        raise _error([f"{problem}: {fit} fit, or lower what a session may hold (docs/operations/memory.md)"])


@dataclasses.dataclass(frozen=True, slots=True)
class Reread:
    """How settings are read again while the program runs."""

    files: tuple[str, ...]
    """Where they may have changed; none: nowhere."""
    read: Callable[[], Settings]
    """All sources, checked. Raises `SettingsError`."""


def rereading(read: Callable[[], Settings], file: Path | None) -> Reread:
    """The settings of `read`, which come from this file, or from that of the environment."""
    path = file or _path_in(CONFIG_VARIABLE)
    return Reread(() if path is None else (str(path),), read)


TUNABLE: Mapping[str, frozenset[str] | None] = {
    "session": None,
    "turns": None,
    "vad": None,
    "playout": None,
    "log": frozenset({"level"}),
    "server": frozenset({"sessions_max"}),
}
"""Sections, or settings of them, that may change while the program runs; new sessions have them."""


def fixed_changes(before: Settings, after: Settings) -> list[str]:
    """What has changed and needs a restart."""
    return [
        f"{section}.{name}"
        for section, kind in SECTIONS.items()
        for name in bounds_of(kind)
        if getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
        and not (section in TUNABLE and ((names := TUNABLE[section]) is None or name in names))
    ]


def load_sections(
    sections: Mapping[str, type], *, file: Path | None = None, overrides: Iterable[str] = (), fallback: Source = NOTHING
) -> dict[str, Any]:
    """One instance of each section's dataclass, as `load` would make it."""
    sources, problems = _sources(sections, file, overrides)
    sources.append(fallback)
    built: dict[str, Any] = {}
    for section, settings_type in sections.items():
        values, files, unread = _merged(section, settings_type, sources)
        problems += unread
        try:
            built[section] = _build(settings_type, values, files)
        except ValidationError as invalid:
            problems += [_explain(error, section, settings_type, sources) for error in invalid.errors()]
        except ValueError as contrary:
            problems.append(f"{section}: {contrary}")
    if problems:
        raise _error(problems)
    return built


def _error(problems: list[str]) -> SettingsError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return SettingsError(f"{count} with the settings:{lines}\n", remedy="`voicefsm settings` lists every setting with its bounds.")


# --- sources -----------------------------------------------------------------------------------------------------------------


def _sources(sections: Mapping[str, type], file: Path | None, overrides: Iterable[str]) -> tuple[list[Source], list[str]]:
    """Every source, the strongest first, and what is wrong with them."""
    problems: list[str] = []
    found = [
        _command_line(overrides, problems),
        _environment(sections, problems),
        _file(file or _path_in(CONFIG_VARIABLE), problems),
        _secrets(sections, _path_in(SECRETS_VARIABLE), problems),
    ]
    return [_only_sections(source, sections.keys(), problems) for source in found], problems


def _path_in(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return Path(text) if text else None


def _command_line(overrides: Iterable[str], problems: list[str]) -> Source:
    values: dict[str, dict[str, Any]] = {}
    for override in overrides:
        path, equals, value = override.partition("=")
        section, dot, name = path.strip().partition(".")
        if equals and dot:
            values.setdefault(section, {})[name] = value
        else:
            problems.append(f"--set {override}: must have the form SECTION.NAME=VALUE")
    return Source(COMMAND_LINE, values)


def _environment(sections: Mapping[str, type], problems: list[str]) -> Source:
    names = {env_name(section, name) for section, kind in sections.items() for name in _names(kind)}
    foreign = tuple(env_name(section, "") for section in (ELSEWHERE | SECTIONS.keys()) - sections.keys())
    known = names | {CONFIG_VARIABLE, SECRETS_VARIABLE}
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(foreign):
            problems.append(f"{name}: no such setting (an environment variable){_did_you_mean(upper, known)}")
    models = {section: (_model(kind), None) for section, kind in sections.items()}
    root = create_model("Environment", __base__=_Environment, **models)  # type: ignore[call-overload]  # sections are data
    read = EnvSettingsSource(root)()
    return Source(ENVIRONMENT, _known_only(read, sections))


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, extra="ignore")


def _known_only(read: Mapping[str, Any], sections: Mapping[str, type]) -> Values:
    """`read` without what `_environment` has already told is unknown."""
    tables = {section: table for section, table in read.items() if isinstance(table, dict)}
    return {section: {k: v for k, v in table.items() if k in _names(sections[section])} for section, table in tables.items()}


def _file(file: Path | None, problems: list[str]) -> Source:
    label = f"the file {file}"
    if file is None:
        return Source(label, {})
    try:
        if not file.is_file():
            raise FileNotFoundError(2, "no such file", str(file))
        return Source(label, TomlConfigSettingsSource(_Environment, file)())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as unreadable:
        problems.append(f"cannot read the settings file {file}: {getattr(unreadable, 'strerror', None) or unreadable}")
        return Source(label, {})


def _secrets(sections: Mapping[str, type], directory: Path | None, problems: list[str]) -> Source:
    values: dict[str, dict[str, Any]] = {}
    if directory is None:
        return Source("", values)
    try:
        files = sorted(path for path in directory.iterdir() if path.is_file() and "__" in path.name)
    except OSError as unreadable:
        problems.append(f"cannot read the secrets directory {directory} ({SECRETS_VARIABLE}): {unreadable.strerror}")
        return Source("", values)
    known = {f"{section}__{name}" for section, kind in sections.items() for name in _secret_names(kind)}
    for path in files:
        section, _, name = path.name.partition("__")
        if path.name in known:
            values.setdefault(section, {})[name + "_file"] = str(path)
        elif section not in (ELSEWHERE | SECTIONS.keys()) - sections.keys():
            problems.append(f"{path}: no such secret{_did_you_mean(path.name, known)}")
    return Source("the secrets directory", values)


def _only_sections(source: Source, ours: AbstractSet[str], problems: list[str]) -> Source:
    """`source` without what is no section of settings, or one of another process. The command line is for this process alone."""
    tables: dict[str, Mapping[str, Any]] = {}
    known = ours if source.label == COMMAND_LINE else ours | SECTIONS.keys() | ELSEWHERE
    for section, table in source.values.items():
        if section not in known:
            hint = _did_you_mean(section, known) or f"; there are {', '.join(sorted(known))}"
            problems.append(f"{section}: no such section, {source.where(section, '')}{hint}")
        elif not isinstance(table, dict):
            problems.append(f"{section}: must be a section, [{section}], {source.where(section, '')}")
        else:
            tables[section] = table
    return Source(source.label, tables)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


# --- one section -------------------------------------------------------------------------------------------------------------


def _names(settings_type: type) -> set[str]:
    """Every name a source may give."""
    return set(bounds_of(settings_type)) | {name + "_file" for name in _secret_names(settings_type)}


def _secret_names(settings_type: type) -> list[str]:
    return [name for name, bounds in bounds_of(settings_type).items() if bounds.secret]


@cache
def _model(settings_type: type) -> type[BaseModel]:
    """The pydantic twin of a settings dataclass."""
    hints = typing.get_type_hints(settings_type)
    defaults = {field.name: field.default for field in dataclasses.fields(settings_type)}
    fields = {name: (_checked(hints[name], bounds), defaults[name]) for name, bounds in bounds_of(settings_type).items()}
    config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(settings_type.__name__, __config__=config, **fields)  # type: ignore[call-overload,no-any-return]


def _checked(hint: Any, bounds: Bounds) -> Any:
    """The type of a field, with its bounds; a tuple may be written as one text."""

    def within(value: object) -> object:
        reason = refusal(value, bounds)
        if reason:
            raise ValueError(reason)
        return value

    split = [BeforeValidator(_entries)] if typing.get_origin(hint) is tuple else []
    return Annotated[(hint, *split, AfterValidator(within))]


def _entries(value: object) -> object:
    """A list written in one text: JSON, or with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def _merged(section: str, settings_type: type, sources: list[Source]) -> tuple[dict[str, Any], dict[str, Path], list[str]]:
    """What the sources say of one section, the strongest heard; the files that secrets came from; and what could not be read."""
    values: dict[str, Any] = {}
    files: dict[str, Path] = {}
    problems: list[str] = []
    for source in reversed(sources):
        said = dict(source.values.get(section, {}))
        for name in _secret_names(settings_type):
            if name in said:
                files.pop(name, None)
            if name + "_file" not in said:
                continue
            path = Path(str(said.pop(name + "_file")))
            try:
                text = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as unreadable:
                problems.append(f"{section}.{name}_file: cannot read {path}: {getattr(unreadable, 'strerror', None) or unreadable}")
                continue
            if name not in said:
                said[name], files[name] = text, path
        values |= said
    return values, files, problems


def _build(settings_type: type, values: Mapping[str, Any], files: Mapping[str, Path]) -> Any:
    """The dataclass. Raises `ValidationError`, or `ValueError` of the dataclass itself."""
    model = _model(settings_type).model_validate(values)
    fields = {name: getattr(model, name) for name in bounds_of(settings_type)}
    return settings_type(**fields | {name: Secret(fields[name], files.get(name)) for name in _secret_names(settings_type)})


# --- messages ----------------------------------------------------------------------------------------------------------------

_WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
}
"""What pydantic finds, in our words."""


def _explain(error: ErrorDetails, section: str, settings_type: type, sources: list[Source]) -> str:
    """One problem as one line: the setting, its value, what it must be, and where it came from."""
    name = str(error["loc"][0])
    where = next((s.where(section, name) for s in sources if name in s.values.get(section, {})), "")
    if error["type"] == "extra_forbidden":
        return f"{section}.{name}: no such setting, {where}{_did_you_mean(name, _names(settings_type))}"
    bounds = bounds_of(settings_type)[name]
    value = "" if bounds.secret else f" = {error['input']!r}"
    return f"{section}.{name}{value}: {_reason(error, bounds)}, {where or 'its default'}"


def _reason(error: ErrorDetails, bounds: Bounds) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if "expected" in context:
        return f"must be one of {context['expected']}"
    reason = _WORDS.get(error["type"], error["msg"])
    return f"{reason} of {bounds.unit}" if bounds.unit and reason.endswith("number") else reason


# --- what there is to set ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One setting as the documentation shows it."""

    section: str
    name: str
    env: str
    default: object
    """A plain value: number, text, switch or tuple."""
    choices: tuple[str, ...]
    """The words it may be, when it is one of a few."""
    bounds: Bounds


def entries(section: str, settings_type: type) -> list[Entry]:
    """Every setting of one section, in the order of its declaration."""
    hints = typing.get_type_hints(settings_type)
    defaults = {field.name: field.default for field in dataclasses.fields(settings_type)}
    return [
        Entry(section, name, env_name(section, name), _plain(defaults[name]), _choices(hints[name]), bounds)
        for name, bounds in bounds_of(settings_type).items()
    ]


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


def _choices(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return tuple(str(choice) for choice in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(str(member.value) for member in hint)
    return ()
