"""What is deployed, asked of the program itself: its settings, its ports, its times, its command line."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.conftest import DEPLOY, ROOT
from voicefsm.config import Settings, load, wants_traces
from voicefsm.server import gateway
from voicefsm.telemetry.families import FAMILIES

PROGRAM_S = (gateway._CLOSE_MS * 2) / 1000
"""How long the gateway may take beyond its drain: the in-band end, then the port."""
MARGIN_S_MIN = 10


def test_the_base_file_is_read_by_the_real_loader(monkeypatch):
    """Otherwise every pod would end at once with a list of settings."""
    clean(monkeypatch)
    settings = load(file=DEPLOY / "kustomize" / "base" / "config" / "voicefsm.toml")
    assert settings.server.host == "0.0.0.0"
    assert settings.server.drain_ms_max > 0


def test_every_pod_is_configured_for_the_real_program(deploy, objects, monkeypatch, tmp_path):
    """Otherwise a setting in a file, a variable or an argument would be one that this version does not know."""
    seen = 0
    for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path):
        assert settings.server.host == "0.0.0.0", name  # loopback is nobody's address in a cluster
        assert settings.log.format == "json", name
        assert settings.server.workers == 1, name  # more pods, not more processes
        seen += 1
    assert seen > 10


def test_ports_and_probes_are_the_programs_own(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the kubelet would ask, and callers would call, where nobody listens."""
    for name, settings, pod, container in deployed(deploy, objects, monkeypatch, tmp_path):
        port = settings.server.port
        assert {each["name"]: each["containerPort"] for each in container["ports"]}["grpc"] == port, name
        assert {each["name"]: each["containerPort"] for each in container["ports"]}["metrics"] == settings.metrics.port, name
        assert settings.metrics.host == "0.0.0.0", name
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            # Probes speak no TLS: where the port does, health has one of its own.
            assert bool(settings.server.health_port) == settings.tls.is_on, name
            assert container[probe]["grpc"]["port"] == (settings.server.health_port or port), (name, probe)
        assert container["readinessProbe"]["grpc"]["service"] == gateway.SERVICE, name
        # A backend that is down makes a pod not ready; it must never make it restart.
        assert "service" not in container["livenessProbe"]["grpc"], name
        assert "service" not in container["startupProbe"]["grpc"], name
        assert pod["enableServiceLinks"] is False, name
        for document in objects[name]:
            if document["kind"] == "Service":
                assert [(each["port"], each["targetPort"]) for each in document["spec"]["ports"] if each["name"] == "grpc"] == [
                    (port, "grpc")
                ], name
            if document["kind"] == "GRPCRoute":
                services = [match["method"]["service"] for rule in document["spec"]["rules"] for match in rule["matches"]]
                assert services == [gateway.SERVICE], name
            if document["kind"] == "Ingress":
                paths = [path["path"] for rule in document["spec"]["rules"] for path in rule["http"]["paths"]]
                assert paths == [f"/{gateway.SERVICE}/"], name


def test_a_pod_is_given_the_time_to_drain(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the kubelet would kill conversations that the gateway lets go on."""
    for name, settings, pod, container in deployed(deploy, objects, monkeypatch, tmp_path):
        pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pre_stop + settings.server.drain_ms_max / 1000 + PROGRAM_S + MARGIN_S_MIN
        assert pod["terminationGracePeriodSeconds"] >= needed, name
        assert pre_stop >= 5, name  # endpoints and proxies learn that the pod leaves


def test_what_sessions_may_hold_fits_the_pod(deploy, objects, monkeypatch, tmp_path):
    """Otherwise hostile callers have the pod killed, and every other conversation with it."""
    for name, settings, pod, container in deployed(deploy, objects, monkeypatch, tmp_path):
        volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume}
        held = [mib(volumes[mount["name"]]["sizeLimit"]) for mount in container["volumeMounts"] if mount["name"] in volumes]
        assert 0 < settings.server.memory_mib_max <= mib(container["resources"]["limits"]["memory"]) - sum(held), name


def mib(quantity: str) -> int:
    """Of a quantity of Kubernetes."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def test_a_proxy_waits_longer_than_the_gateway_does(deploy, objects, monkeypatch, tmp_path):
    """Otherwise a proxy would cut a muted caller off, whom the gateway lets go with a word."""
    for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path):
        assert settings.turns.idle_ms_max / 1000 + MARGIN_S_MIN < deploy.PAUSE_S_MIN, name


def test_a_scale_down_waits_for_the_drain_of_the_last(deploy, objects, monkeypatch, tmp_path):
    """Otherwise an evening's end would have many pods draining at once."""
    for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path):
        for document in objects[name]:
            if document["kind"] == "HorizontalPodAutoscaler":
                down = document["spec"]["behavior"]["scaleDown"]
                assert all(policy["type"] == "Pods" and policy["value"] == 1 for policy in down["policies"]), name
                assert all(policy["periodSeconds"] * 1000 >= settings.server.drain_ms_max for policy in down["policies"]), name


def test_backends_are_where_the_settings_say(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the gateway would wait for a name that no service has."""
    for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path):
        for document in objects[name]:
            if document["kind"] == "NIMService":
                service, ports = document["metadata"]["name"], document["spec"]["expose"]["service"]
                told = {
                    "asr": settings.failover.asr_targets == (f"asr:{ports.get('grpcPort')}",),
                    "tts": settings.failover.tts_targets == (f"tts:{ports.get('grpcPort')}",),
                    "llm": settings.llm.base_url == f"http://llm:{ports['port']}/v1",
                }
                assert told[service], (name, service)


def test_a_backend_elsewhere_is_used_and_may_be_reached(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the last of two components would win, or the network policy of the base would be in the way."""
    found = {name: settings for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path)}
    settings = found["external-backends"]
    assert settings.failover.asr_targets == ("riva-a.example.com:50051", "riva-b.example.com:50051")
    assert settings.failover.tts_targets == ("riva-a.example.com:50051",)
    assert settings.llm.base_url == "https://llm.example.com/v1"
    assert found["hindi-timeslicing"].session.language_code == "hi-IN"
    ports = {
        port["port"]
        for document in objects["external-backends"]
        if document["kind"] == "NetworkPolicy"
        for rule in document["spec"].get("egress", ())
        for port in rule["ports"]
    }
    assert {50051, 443} <= ports


def test_traces_are_asked_for_where_they_are_meant_to_be(deploy, objects, monkeypatch, tmp_path):
    """Otherwise a collector would wait for spans, or every gateway would send some to nobody."""
    for name in ("otel", "base"):
        assert deployed(deploy, {name: objects[name]}, monkeypatch, tmp_path)
        assert wants_traces() == (name == "otel")
        assert os.environ.get("OTEL_TRACES_SAMPLER_ARG", "0.1") == "0.1"


def test_a_secret_is_put_where_the_program_looks(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the key would be in the pod, and never sent."""
    (_, _, pod, container), *_ = [
        each for each in deployed(deploy, objects, monkeypatch, tmp_path) if each[0] == "external-backends"
    ]
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert mounts["llm-key"] == values["VOICEFSM_SECRETS_DIR"]
    directory = tmp_path / "secrets"
    directory.mkdir()
    for item in secrets["llm-key"]["items"]:
        (directory / item["path"]).write_text("a-key", encoding="utf-8")
    monkeypatch.setenv("VOICEFSM_SECRETS_DIR", str(directory))
    assert load(overrides=["llm.base_url=https://llm.example.com/v1"]).llm.api_key == "a-key"


def test_the_image_has_the_versions_name(deploy, objects):
    """Otherwise a release would deploy the one before."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name, documents in objects.items():
        for _, _, container in deploy.containers(documents):
            assert container["image"].rpartition(":")[2] in {version, f"{version}-embedded"}, name
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_has_the_locked_versions():
    """Otherwise what is tested and what is shipped would drift apart."""
    locked = pins("requirements.lock")
    for lock in ("runtime", "embedded", "build"):
        image = pins(f"deploy/image/{lock}.lock")
        assert len(image) > 5
        assert image <= locked, lock


OURS = ("otel", "auth", "redis")
"""What every image has."""


@pytest.mark.parametrize(("lock", "extras"), [("runtime", OURS), ("embedded", (*OURS, "embedded", "timeline"))])
def test_the_image_has_everything_the_program_imports(lock, extras):
    """Otherwise a dependency that is new would be missing in the image. `make lock` mends it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(entry for extra in extras for entry in project["optional-dependencies"][extra])]
    names = {re.split(r"[\[<>=!~; ]", entry)[0].lower() for entry in wanted}
    assert names - {pin.partition("==")[0] for pin in pins(f"deploy/image/{lock}.lock")} == set()


def pins(lock: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z0-9._-]+==[^\s;]+)", (ROOT / lock).read_text(encoding="utf-8")))


def test_alerts_and_autoscalers_ask_for_metrics_that_there_are(objects):
    """Otherwise an alert would be silent, or the number of pods stand still, because a name was changed."""
    known = {family.name for family in FAMILIES}
    asked = set()
    for name, documents in objects.items():
        for document in documents:
            if document["kind"] in {"PrometheusRule", "ScaledObject"}:
                asked |= {(name, found) for found in re.findall(r"\bvoice(?:fsm|_gateway)_\w+", expressions(document))}
    rule = DEPLOY / "kustomize" / "components" / "autoscale-prometheus-adapter" / "adapter-rule.yaml"
    asked.add(("adapter", re.findall(r"seriesQuery: (\w+)", rule.read_text(encoding="utf-8"))[0]))
    assert len({metric for _, metric in asked}) > 4
    assert {(name, metric) for name, metric in asked if re.sub(r"_(bucket|count|sum)$", "", metric) not in known} == set()


def expressions(document: dict[str, Any]) -> str:
    if document["kind"] == "ScaledObject":
        return " ".join(trigger["metadata"]["query"] for trigger in document["spec"]["triggers"])
    return " ".join(rule["expr"] for group in document["spec"]["groups"] for rule in group["rules"])


def test_pods_are_added_before_they_are_full(deploy, objects, monkeypatch, tmp_path):
    """Otherwise callers would be refused while the autoscaler sees no reason to act."""
    seen = set()
    for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path):
        for document in objects[name]:
            held = 0.0
            if document["kind"] == "ScaledObject":
                held = float(document["spec"]["triggers"][0]["metadata"]["threshold"])
            elif document["kind"] == "HorizontalPodAutoscaler" and document["spec"]["metrics"][0]["type"] == "Pods":
                held = float(document["spec"]["metrics"][0]["pods"]["target"]["averageValue"])
            if held:
                assert 0.5 <= held / settings.server.sessions_max <= 0.75, name
                seen.add(document["kind"])
    assert seen == {"ScaledObject", "HorizontalPodAutoscaler"}


async def test_the_dev_overlays_command_line_starts_the_real_program(deploy, objects, monkeypatch, tmp_path):
    """Otherwise the one command of the README would bring up a pod that crashes."""
    absent = [name for name in ("pocketsphinx", "espeakng_loader", "soxr") if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: THE DEV OVERLAY was NOT started")
    ((_, _, _, container),) = [each for each in deployed(deploy, objects, monkeypatch, tmp_path) if each[0] == "dev"]
    # A port of our own, and loopback: the only difference to the pod.
    command = (sys.executable, "-m", "voicefsm", *container["args"], "--host", "127.0.0.1", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=os.environ | {"HOME": str(tmp_path)}
    )
    try:
        async with asyncio.timeout(120):
            target = await address(process)
            async with grpc.aio.insecure_channel(target) as channel:
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    await serving(channel, container[probe]["grpc"].get("service", ""))
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0


async def address(process: asyncio.subprocess.Process) -> str:
    """Where the gateway listens, once it does."""
    assert process.stdout is not None
    async for raw in process.stdout:
        line = raw.decode().rstrip()
        if line.startswith("voicefsm gateway: listening on "):
            return line.rpartition(" ")[2]
    raise AssertionError("the gateway ended")


async def serving(channel: Any, service: str) -> None:
    """Ask as the kubelet does, until it is."""
    stub = health_pb2_grpc.HealthStub(channel)
    async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


SECRETS = {"url": "redis://redis.example:6379/0"}


def test_what_guards_the_door_is_where_the_program_looks(deploy, objects, monkeypatch, tmp_path):
    """Otherwise a pod would let everybody in, in clear, although its overlay says otherwise; or start with nothing to show."""
    found = {name: settings for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path)}
    secured, keys = found["secured"], found["keys-resume"]
    for setting, secret in (
        (secured.tls.certificate_file, "voicefsm-tls/tls.crt"),
        (secured.tls.key_file, "voicefsm-tls/tls.key"),
        (secured.tls.client_ca_file, "voicefsm-client-ca/ca.crt"),
        (secured.auth.identities_file, "voicefsm-identities/identities.toml"),
        (keys.auth.identities_file, "voicefsm-identities/identities.toml"),
    ):
        assert setting.endswith(f"/run/secrets/{secret}")
        assert Path(setting).is_file(), "a secret of the pod is mounted there"
    for settings in (secured, keys):
        assert settings.resume.redis_url == SECRETS["url"]
    assert keys.auth.allow_insecure, "TLS ends at the edge"
    assert not keys.tls.is_on
    others = {name for name, settings in found.items() if settings.tls.is_on or settings.auth.identities_file}
    assert others == {"secured", "keys-resume"}


def test_the_certificate_is_for_the_names_that_callers_use(objects):
    """Otherwise every caller in the cluster would refuse the certificate."""
    (certificate,) = [each for each in objects["secured"] if each["kind"] == "Certificate"]
    services = {each["metadata"]["name"] for each in objects["secured"] if each["kind"] == "Service"}
    assert certificate["spec"]["dnsNames"] == [
        "voicefsm",
        "voicefsm.voice",
        "voicefsm.voice.svc",
        "voicefsm.voice.svc.cluster.local",
    ]
    assert "voicefsm" in services


def test_services_say_what_is_spoken(deploy, objects, monkeypatch, tmp_path):
    """Otherwise a proxy would speak HTTP/2 in clear to a port that is encrypted, or the other way round."""
    is_encrypted = {name: settings.tls.is_on for name, settings, _, _ in deployed(deploy, objects, monkeypatch, tmp_path)}
    assert {True, False} == set(is_encrypted.values())
    for name, encrypted in is_encrypted.items():
        services = [each for each in objects[name] if each["kind"] == "Service" and each["metadata"]["name"].startswith("voicefsm")]
        said = {port["appProtocol"] for service in services for port in service["spec"]["ports"] if port["name"] == "grpc"}
        assert said == {"https" if encrypted else "kubernetes.io/h2c"}, name


# --- what a pod's program would find ------------------------------------------------------------------------------------------


def clean(monkeypatch) -> None:
    for variable in [name for name in os.environ if name.startswith(("VOICEFSM_", "OTEL_"))]:
        monkeypatch.delenv(variable)


def deployed(deploy, objects, monkeypatch, tmp_path) -> list[tuple[str, Settings, dict[str, Any], dict[str, Any]]]:
    """Every gateway: its combination, the settings it would have, its pod, its container.

    The files of its ConfigMaps are laid out, its environment set and its arguments given to the program's own loader. The
    environment of the last one, dev, stays.
    """
    found = []
    for name in sorted(objects, key=lambda name: (name == "dev", name)):
        maps = {document["metadata"]["name"]: document["data"] for document in objects[name] if document["kind"] == "ConfigMap"}
        for _, pod, container in deploy.containers(objects[name]):
            clean(monkeypatch)
            root = tmp_path / name
            lay_out(pod, container, maps, root)
            for variable, value in environment(container, maps).items():
                inside = root / value.lstrip("/")
                monkeypatch.setenv(variable, str(inside) if value.startswith("/") else value)
                if variable == "VOICEFSM_SECRETS_DIR":
                    inside.mkdir(parents=True, exist_ok=True)
            arguments = container["args"]
            assert arguments[0] == "serve"
            overrides = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--set"]
            found.append((name, load(overrides=overrides), pod, container))
    return found


def lay_out(pod: dict[str, Any], container: dict[str, Any], maps: dict[str, dict[str, str]], root: Path) -> None:
    """The files of the ConfigMaps, where the container has them; those of secrets with something in them."""
    for volume in pod["volumes"]:
        if "secret" in volume and not volume["secret"].get("optional"):
            (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
            directory = root / mount["mountPath"].lstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            for item in volume["secret"]["items"]:
                (directory / item["path"]).write_text(SECRETS.get(item["path"], "secret"), encoding="utf-8")
        if "configMap" in volume:
            (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
            directory = root / mount["mountPath"].lstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            for file, text in maps[volume["configMap"]["name"]].items():
                (directory / file).write_text(text, encoding="utf-8")


def environment(container: dict[str, Any], maps: dict[str, dict[str, str]]) -> dict[str, str]:
    """The variables of a container, those from ConfigMaps too."""
    values = {}
    for each in container["env"]:
        if "value" in each:
            values[each["name"]] = each["value"]
        elif "configMapKeyRef" in each["valueFrom"]:
            source = each["valueFrom"]["configMapKeyRef"]
            values[each["name"]] = maps[source["name"]][source["key"]]
    return values
