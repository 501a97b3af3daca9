"""Every connection that the program needs is one that the network policies let through, and what it does not need is not.

Policies are evaluated as a cluster's network would: a pod that none selects may do everything, one that is selected may do what one
of them allows, and a connection between two pods needs both sides. What is needed is asked of the settings that a pod would have.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.deploy.test_program import deployed

GATEWAY = {"app.kubernetes.io/name": "voicefsm", "app.kubernetes.io/component": "gateway"}
NIM = ("asr", "tts", "llm")
NIMCACHE = {"app": "k8s-nim-operator"}
"""As NVIDIA's operator labels the jobs that fetch models (v3.1.2), and a service's pods with `app`, its name."""


@dataclasses.dataclass(frozen=True)
class End:
    """Of a connection: a pod, by its labels, or somebody outside of the cluster; and the labels of its namespace."""

    pod: dict[str, str] | None = None
    namespace: dict[str, str] | None = None
    """None: that of the policies."""
    ports: dict[str, int] = dataclasses.field(default_factory=dict)
    """Names of its ports."""


OUTSIDE = End()
DNS = End({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
CALLER = End({"app": "envoy"}, {"voicefsm.io/callers": "true"})
SCRAPER = End({"app": "prometheus"}, {"voicefsm.io/monitoring": "true"})
STRANGER = End({"app": "stranger"}, {"kubernetes.io/metadata.name": "default"})
NEIGHBOUR = End({"app": "neighbour"})


# --- policies, evaluated --------------------------------------------------------------------------------------------------------


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """A selector of labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", ()))
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ()))


def is_peer(peer: dict[str, Any], end: End) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"}, "an address: this test does not know them"
    if end.pod is None:
        return False
    namespaced = selects(peer["namespaceSelector"], end.namespace or {}) if "namespaceSelector" in peer else end.namespace is None
    return namespaced and ("podSelector" not in peer or selects(peer["podSelector"], end.pod))


def lets_through(ruling: list[dict[str, Any]], way: str, other: End, port: int | str, protocol: str) -> bool:
    """What the policies that select a pod say. `way`: Ingress or Egress."""
    ruling = [spec for spec in ruling if way in spec["policyTypes"]]
    peers = "from" if way == "Ingress" else "to"
    return not ruling or any(
        (peers not in rule or any(is_peer(peer, other) for peer in rule[peers]))
        and any((each["port"], each["protocol"]) == (port, protocol) for each in rule["ports"])
        for spec in ruling
        for rule in spec.get(way.lower(), ())
    )


def connects(documents: list[dict[str, Any]], client: End, server: End, port: int, protocol: str = "TCP") -> bool:
    """Whether both ends allow it; what is in another namespace is that namespace's business."""
    specs = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    of_client, of_server = (
        [spec for spec in specs if end.namespace is None and end.pod is not None and selects(spec["podSelector"], end.pod)]
        for end in (client, server)
    )
    names: list[int | str] = [port, *(name for name, number in server.ports.items() if number == port)]
    leaves = lets_through(of_client, "Egress", server, port, protocol)
    return leaves and any(lets_through(of_server, "Ingress", client, each, protocol) for each in names)


# --- what is needed -------------------------------------------------------------------------------------------------------------


def place(host: str) -> End:
    """Where a name leads: a service of the namespace, of another one, or outside."""
    if host in NIM:
        return End({"app": host})
    if ".svc" in host:
        return End({"app": host}, {"kubernetes.io/metadata.name": host.split(".")[1]})
    return OUTSIDE


def outgoing(settings: Any) -> list[tuple[End, int, str]]:
    """What the gateway asks, by its settings."""
    speech = (*settings.failover.asr_targets, *settings.failover.tts_targets)
    urls = [
        settings.llm.base_url,
        settings.resume.redis_url,
        settings.jwt.jwks_url,
        os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ]
    defaults = {"https": 443, "http": 80, "redis": 6379, "rediss": 6379}
    asked = [(place(host), int(port), "TCP") for host, _, port in (target.rpartition(":") for target in speech)]
    parts = [urlsplit(url) for url in urls if url]
    asked += [(place(str(url.hostname)), url.port or defaults[url.scheme], "TCP") for url in parts]
    return [*asked, (DNS, 53, "UDP"), (DNS, 53, "TCP")]


@pytest.fixture
def clusters(deploy, objects, monkeypatch, tmp_path):
    """Combination, objects, settings, the gateway's end. The environment is that of the combination while it is looked at."""

    def each():
        for name in objects:
            for _, settings, _, container in deployed(deploy, {name: objects[name]}, monkeypatch, tmp_path):
                ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                yield name, objects[name], settings, End(GATEWAY, None, ports)

    return each


def test_the_gateway_reaches_everything_that_its_settings_name(clusters):
    """Otherwise a pod would never be ready, tell no trace, keep no conversation, know no token; for a reason that no log says."""
    seen = set()
    for name, documents, settings, gateway in clusters():
        if name.startswith("dev"):
            continue  # on loopback, which no policy sees
        for server, port, protocol in outgoing(settings):
            assert connects(documents, gateway, server, port, protocol), (name, server, port)
            seen.add(port)
    assert {53, 50051, 8000, 443, 6379, 4317} <= seen


def test_callers_get_in_and_with_netpol_strict_nobody_else(clusters):
    """Otherwise the proxy would find a closed door; or whoever has a pod in the cluster an open one."""
    for name, documents, settings, gateway in clusters():
        is_strict = any(document["metadata"]["name"] == "default-deny" for document in documents)
        assert connects(documents, CALLER, gateway, settings.server.port), name
        for other in (STRANGER, NEIGHBOUR, OUTSIDE):
            assert connects(documents, other, gateway, settings.server.port) is not is_strict, (name, other)


def test_metrics_are_for_the_scraper_and_health_for_the_kubelet(clusters):
    """Otherwise alerts would be silent; or sessions, identities and queues be read by anybody. No policy asks about the kubelet."""
    for name, documents, settings, gateway in clusters():
        is_scraped = any(document["kind"] == "ServiceMonitor" for document in documents)
        assert connects(documents, SCRAPER, gateway, settings.metrics.port) is is_scraped, name
        for other in (CALLER, STRANGER, NEIGHBOUR, OUTSIDE):
            assert not connects(documents, other, gateway, settings.metrics.port), (name, other)
            assert not settings.server.health_port or not connects(documents, other, gateway, settings.server.health_port), name


def test_the_gateway_reaches_nothing_else(clusters):
    """Otherwise one that was taken over would be a way into everything."""
    for name, documents, _, gateway in clusters():
        for other, port in (
            (NEIGHBOUR, 5432),
            (STRANGER, 22),
            (OUTSIDE, 80),
            (End({"app": "api"}, {"kubernetes.io": "system"}), 6443),
        ):
            assert not connects(documents, gateway, other, port), (name, other, port)


def test_models_are_fetched_asked_and_scraped_and_nothing_else(clusters):
    """Otherwise a NIM would never start; or its port be open to every pod of the namespace."""
    seen = 0
    for name, documents, _, gateway in clusters():
        served = {
            document["metadata"]["name"]: document["spec"]["expose"]["service"]
            for document in documents
            if document["kind"] == "NIMService"
        }
        if not any(document["metadata"]["name"] == "default-deny" for document in documents):
            continue
        for fetcher in (End(NIMCACHE), *(End({"app": nim}) for nim in served)):
            assert connects(documents, fetcher, OUTSIDE, 443), name
            assert connects(documents, fetcher, DNS, 53, "UDP"), name
            assert not connects(documents, fetcher, gateway, 50055), name
        for nim, ports in served.items():
            asked = ports.get("grpcPort", ports["port"])
            assert connects(documents, gateway, End({"app": nim}), asked), name
            assert not connects(documents, NEIGHBOUR, End({"app": nim}), asked), name
            assert not connects(documents, CALLER, End({"app": nim}), asked), name
            for scraped in {ports["port"], ports.get("metricsPort", ports["port"])}:
                assert connects(documents, SCRAPER, End({"app": nim}), scraped), name
            seen += 1
    assert seen > len(NIM)


def test_a_policy_that_is_missing_would_be_seen(clusters, objects):
    """Otherwise the evaluation above could say yes to everything."""
    for name, policy, server, port in (
        ("production-tokens", "voicefsm-jwt", OUTSIDE, 443),
        ("production-tokens", "voicefsm-redis", OUTSIDE, 6379),
        ("production-tokens", "voicefsm-otel", place("otel-collector.observability.svc.cluster.local"), 4317),
        ("production-tokens", "voicefsm", End({"app": "asr"}), 50051),
        ("production-tokens", "backends", End({"app": "asr"}), 50051),
    ):
        assert connects(objects[name], End(GATEWAY), server, port)
        without = [
            document for document in objects[name] if (document["kind"], document["metadata"]["name"]) != ("NetworkPolicy", policy)
        ]
        assert not connects(without, End(GATEWAY), server, port), policy
