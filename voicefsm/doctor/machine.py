"""This machine: Python, packages, native libraries, audio devices, the port."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Mapping

from voicefsm.doctor.finding import Finding, broken, note, ok
from voicefsm.errors import SettingsError
from voicefsm.server.port import address, hold

PYTHONS = ((3, 11), (3, 12), (3, 13))
"""The versions this package is made for."""

EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "embedded": (("pocketsphinx", "espeakng_loader", "soxr"), "the embedded backends: `serve --embedded`, `embedded`, `demo`"),
    "timeline": (("matplotlib",), "pictures: `timeline`, `demo`"),
    "bench": (("matplotlib", "pystoi"), "measuring: `bench echo`, pictures of `bench turns`"),
    "talk": (("sounddevice",), "the microphone: `talk`"),
}
"""Extra: the modules it brings, and what it is for."""

CORE = ("grpcio", "nvidia-riva-client", "protobuf", "numpy", "httpx", "pydantic", "transitions")
"""Packages whose versions help when something does not work."""


def examine_python() -> Finding:
    """Is this a Python we are made for?"""
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] in PYTHONS:
        return ok("python", here)
    return note("python", f"{here}, which is not tested.", "Use Python 3.11, 3.12 or 3.13.")


def examine_packages() -> list[Finding]:
    """The packages every command needs, and the extras."""
    versions = {name: _version(name) for name in CORE}
    missing = [name for name, version in versions.items() if not version]
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    lacks = broken("packages", f"not installed: {', '.join(missing)}", "In a checkout: pip install . (or `make setup`).")
    return [lacks if missing else ok("packages", shown), *(_examine_extra(name) for name in EXTRAS)]


def _examine_extra(name: str) -> Finding:
    modules, purpose = EXTRAS[name]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return note(f"extra {name}", f"not installed: {', '.join(missing)}; needed for {purpose}", _install(name))
    return ok(f"extra {name}", "installed")


def _install(extra: str) -> str:
    return f"In a checkout: pip install '.[{extra}]' (or `make setup`)."


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def examine_audio() -> Finding:
    """Is there a microphone and a loudspeaker for `talk`?"""
    name = "audio devices"
    try:
        import sounddevice  # noqa: PLC0415  # an extra, and it loads PortAudio
    except ModuleNotFoundError:
        return note(name, "not looked at: `talk` is not installed", _install("talk"))
    except OSError as missing:
        return note(
            name,
            f"no PortAudio ({missing}); needed for `talk`",
            "Debian: apt-get install libportaudio2; macOS: brew install portaudio",
        )
    devices = sounddevice.query_devices()
    inputs = sum(device["max_input_channels"] > 0 for device in devices)
    outputs = sum(device["max_output_channels"] > 0 for device in devices)
    if inputs and outputs:
        return ok(name, f"{inputs} input, {outputs} output")
    return note(name, f"{inputs} input, {outputs} output; `talk` needs one of each", "Connect a microphone and a loudspeaker.")


def examine_port(host: str, port: int) -> Finding:
    """Could `serve` listen there?"""
    name = "port"
    try:
        with hold(host, port):
            return ok(name, f"{address(host, port)} is free")
    except SettingsError as refused:
        remedy = "Is a gateway running already? Else choose another: `serve --port`, or server.port (VOICEFSM_SERVER__PORT)."
        return broken(name, refused.message, remedy)
