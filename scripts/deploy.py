"""Renders every combination under deploy/kustomize/tests and checks it: `deploy.py [--rewrite]`. `tox -e deploy` runs it.

A combination is a directory with a kustomization and, beside it, what it renders to (render.yaml, written by --rewrite: its diff
is the review). Checked are: the render is the one that was reviewed; each object by the strict schema of the oldest and newest
Kubernetes we name, custom resources by those in deploy/kustomize/schemas, and kinds without a schema are errors; and the rules of
this file, which are about what no schema knows. tests/deploy asks the program itself about the rest: settings, ports and times.
"""  # noqa: INP001  # a script

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
KUSTOMIZE = ROOT / "deploy" / "kustomize"
VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes with what we use (the preStop sleep), and the newest whose schema there is."""
FIRST_ENGINE_S = 50 * 60
"""How long a first start of a speech NIM may build its engine."""
PAUSE_S_MIN = 660
"""How long a call may carry nothing before a proxy gives it up, at the least: longer than the gateway itself allows (a test)."""
WORDS = re.compile(r"^(y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$")
"""What YAML 1.1 takes for true and false, and people for words."""

NOT_ASKED = re.compile(r"oldSelf|\.split\(")
"""Rules about changes, and one on the length of label keys with a function that Kubernetes adds to CEL."""

ALERTS = {"monitoring": ("rules.yaml", "voicefsm", "gateway"), "monitoring-dcgm": ("gpu_rules.yaml", "voicefsm-gpu", "gpu")}
"""Component to the file in deploy/monitoring that its PrometheusRule is made from, its name, and what it is about."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where the wheel has libyaml."""

Document = dict[str, Any]


# --- rendering ---------------------------------------------------------------------------------------------------------------


@functools.cache
def kubectl() -> str:
    """Where kubectl is. Raises `SystemExit` when there is none that knows components."""
    found = subprocess.run(  # noqa: S603  # our own script
        [ROOT / "scripts" / "kubectl.sh", "--find"],
        env={**os.environ, "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if found.returncode:
        raise SystemExit(found.stderr.strip())
    return found.stdout.strip()


def combinations() -> list[Path]:
    """Every directory that has a render."""
    return sorted(path.parent for path in (KUSTOMIZE / "tests").glob("*/kustomization.yaml"))


def render(directory: Path) -> str:
    """What would be applied. Raises `SystemExit` with what kustomize said."""
    command = [kubectl(), "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)  # noqa: S603  # no shell, our own paths
    if done.returncode or done.stderr:
        raise SystemExit(f"{directory.relative_to(ROOT)}: {done.stderr.strip()}")
    return done.stdout


def documents(text: str) -> list[Document]:
    """The objects of a render."""
    return [document for document in yaml.load_all(text, Loader=LOADER) if document]


def name(document: Document) -> str:
    """How a message names an object."""
    return f"{document['kind']}/{document['metadata']['name']}"


# --- schemas -----------------------------------------------------------------------------------------------------------------


@functools.cache
def _validate_with_cache() -> Callable[[Document, str, bool], str]:
    """kubernetes-validate, which would read its largest file again for each object."""
    import kubernetes_validate.utils as package  # noqa: PLC0415  # a tool of its own, see deploy/requirements.in

    package.schema_contents = functools.cache(package.schema_contents)
    return package.validate


def schema_problems(document: Document, version: str) -> list[str]:
    """What is wrong with an object, by the strict schema of a Kubernetes version."""
    import jsonschema  # noqa: PLC0415
    from kubernetes_validate import SchemaNotFoundError  # noqa: PLC0415

    group, _, api = document["apiVersion"].rpartition("/")
    ours = KUSTOMIZE / "schemas" / f"{document['kind']}_{group}_{api}.json"
    if ours.exists():
        schema = json.loads(ours.read_text(encoding="utf-8"))
        errors = [f"{name(document)}: {_at(error)}" for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
        served = _with_defaults(schema, document)
        return errors or [f"{name(document)}: {problem}" for problem in _rule_problems(schema, served, "")]
    try:
        _validate_with_cache()(document, version, True)
    except jsonschema.ValidationError as error:
        return [f"{name(document)}: {_at(error)} (Kubernetes {version})"]
    except SchemaNotFoundError:
        return [f"{name(document)}: no schema of {document['apiVersion']} {document['kind']}, here or in Kubernetes {version}"]
    return []


def _at(error: Any) -> str:
    return f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message[:300]}"


def _with_defaults(schema: Document, node: Any) -> Any:
    """`node` as the server would see it."""
    if isinstance(node, list):
        return [_with_defaults(schema.get("items", {}), part) for part in node]
    if not isinstance(node, dict):
        return node
    known = schema.get("properties", {})
    missing = {key: part["default"] for key, part in known.items() if "default" in part and key not in node}
    return {key: _with_defaults(known.get(key, {}), part) for key, part in {**node, **missing}.items()}


def _rule_problems(schema: Document, node: Any, path: str) -> Iterator[str]:
    """What the rules in CEL that a custom resource brings along say, as the server would ask them at a creation."""
    import cel  # noqa: PLC0415

    for rule in schema.get("x-kubernetes-validations", ()):
        if not NOT_ASKED.search(rule["rule"]) and cel.evaluate(rule["rule"], {"self": node}) is not True:
            yield f"{path.lstrip('.')}: {rule.get('message', rule['rule'])}"
    if isinstance(node, list):
        for index, part in enumerate(node):
            yield from _rule_problems(schema.get("items", {}), part, f"{path}.{index}")
    elif isinstance(node, dict):
        other = schema.get("additionalProperties")
        for key, part in node.items():
            below = schema.get("properties", {}).get(key, other if isinstance(other, dict) else {})
            yield from _rule_problems(below, part, f"{path}.{key}")


# --- rules that no schema knows -----------------------------------------------------------------------------------------------

Rule = Callable[[list[Document]], Iterator[str]]


def pod_specs(objects: list[Document]) -> Iterator[tuple[str, Document]]:
    """The pods that an object makes; those of NIMs are the operator's business."""
    for document in objects:
        if document["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield name(document), document["spec"]["template"]["spec"]


def containers(objects: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """Each container, with its pod."""
    for owner, pod in pod_specs(objects):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{owner} {container['name']}", pod, container


def restricted(objects: list[Document]) -> Iterator[str]:
    """Pod Security `restricted`, and a read-only root."""
    for owner, pod, container in containers(objects):
        both = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
        wanted = {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        yield from (f"{owner}: {key} is {both.get(key)}, not {value}" for key, value in wanted.items() if both.get(key) != value)
        for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
            if pod.get(key):
                yield f"{owner}: {key}"
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for owner, pod in pod_specs(objects):
        yield from (
            f"{owner}: a volume of kind {set(v) - {'name'}}" for v in pod.get("volumes", ()) if not set(v) - {"name"} <= allowed
        )


def resources(objects: list[Document]) -> Iterator[str]:
    """Memory is reserved in full; CPU is reserved and not limited (the Deployment says why)."""
    for owner, _, container in containers(objects):
        asked, limit = container["resources"].get("requests", {}), container["resources"].get("limits", {})
        if not asked.get("memory") or asked["memory"] != limit.get("memory"):
            yield f"{owner}: memory: request {asked.get('memory')}, limit {limit.get('memory')}"
        if not asked.get("cpu") or "cpu" in limit:
            yield f"{owner}: cpu: request {asked.get('cpu')}, limit {limit.get('cpu')}"


def no_tokens_no_links(objects: list[Document]) -> Iterator[str]:
    """No pod has a token; no service is put into an environment whose every VOICEFSM_* is a setting."""
    for owner, pod in pod_specs(objects):
        for key in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.get(key) is not False:
                yield f"{owner}: {key} is {pod.get(key)}"


def images(objects: list[Document]) -> Iterator[str]:
    """Every image has a tag or a digest, and none is `latest`."""
    for found in _images(objects):
        tag = found.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in found and tag.partition("-")[0] in {"", "latest"}:
            yield f"image {found}: names no version"


def _images(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _images(part)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"image", "modelPuller"} and isinstance(value, str):
                yield value
            elif key == "image" and isinstance(value, dict) and "repository" in value:
                yield f"{value['repository']}:{value.get('tag', '')}"
            else:
                yield from _images(value)


def secrets(objects: list[Document]) -> Iterator[str]:
    """Secrets are named, never brought."""
    yield from (f"{name(document)}: a secret in git" for document in objects if document["kind"] == "Secret")


def namespaces(objects: list[Document]) -> Iterator[str]:
    """A namespace comes alone: in one render with what lives in it, --dry-run=server refuses everything else."""
    if len(objects) > 1 and any(document["kind"] == "Namespace" for document in objects):
        yield "a Namespace together with other objects"
    if len({document["metadata"].get("namespace") for document in objects}) > 1:
        yield f"objects in several namespaces: { {name(o): o['metadata'].get('namespace') for o in objects} }"


def one_scaler(objects: list[Document]) -> Iterator[str]:
    """Who scales has the number of replicas, alone."""
    scaled = [d["spec"]["scaleTargetRef"]["name"] for d in objects if d["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]
    for document in objects:
        if document["kind"] == "Deployment":
            count = scaled.count(document["metadata"]["name"])
            if count > 1:
                yield f"{name(document)}: {count} autoscalers"
            if count == ("replicas" in document["spec"]):
                yield f"{name(document)}: {count} autoscalers, replicas {document['spec'].get('replicas')}"


def selectors(objects: list[Document]) -> Iterator[str]:
    """Selectors cannot be changed once applied: they are the same everywhere, and select the gateway's pods."""
    ours = {"app.kubernetes.io/name": "voicefsm", "app.kubernetes.io/component": "gateway"}
    for document in objects:
        spec = document.get("spec", {})
        if document["kind"] in {"Deployment", "PodDisruptionBudget"} and spec["selector"] != {"matchLabels": ours}:
            yield f"{name(document)}: selects {spec['selector']}"
        if document["kind"] == "Service" and spec["selector"] != ours:
            yield f"{name(document)}: selects {spec['selector']}"
        if document["kind"] == "Deployment" and not ours.items() <= spec["template"]["metadata"]["labels"].items():
            yield f"{name(document)}: does not select its own pods"


def nims(objects: list[Document]) -> Iterator[str]:
    """No `replicas` with `scale`, no nulls (NVIDIA's samples have both), time for a first start, memory for what is shared."""
    for document in objects:
        if document["kind"] != "NIMService":
            continue
        spec = document["spec"]
        if spec.get("scale", {}).get("enabled") and "replicas" in spec:
            yield f"{name(document)}: replicas together with scale.enabled"
        probe = spec.get("startupProbe", {}).get("probe", {})
        seconds = probe.get("initialDelaySeconds", 0) + probe.get("periodSeconds", 0) * probe.get("failureThreshold", 0)
        if seconds < FIRST_ENGINE_S:
            yield f"{name(document)}: {seconds} s to start; a first engine takes up to 50 min"
        shared, asked = (
            spec["storage"].get("sharedMemorySizeLimit") or "0",
            spec["resources"].get("requests", {}).get("memory", "0"),
        )
        if _gib(asked) <= _gib(shared):
            yield f"{name(document)}: {asked} of memory requested; {shared} of shared memory are part of it"
        yield from (f"{name(document)}: {path} is null" for path in _nulls(spec, "spec"))


def _gib(quantity: str) -> int:
    return int(quantity.removesuffix("Gi"))


def _nulls(node: Any, path: str) -> Iterator[str]:
    if node is None:
        yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _nulls(value, f"{path}.{key}")


def calls_are_not_cut(objects: list[Document]) -> Iterator[str]:
    """A proxy in front of the gateway has no limit on the length of a call."""
    routes = {document["metadata"]["name"] for document in objects if document["kind"] == "GRPCRoute"}
    for document in objects:
        if document["kind"] == "BackendTrafficPolicy":
            http = document["spec"]["timeout"]["http"]
            routes -= {target["name"] for target in document["spec"]["targetRefs"]}
            if http.get("requestTimeout") != "0s" or http.get("maxStreamDuration") != "0s":
                yield f"{name(document)}: {http}"
        if document["kind"] in {"BackendTrafficPolicy", "ClientTrafficPolicy"}:
            pause = document["spec"]["timeout"]["http"].get("streamIdleTimeout", "300s")
            if int(pause.removesuffix("s")) < PAUSE_S_MIN:
                yield f"{name(document)}: {pause} cut a pause"
        if document["kind"] == "Ingress":
            notes = document["metadata"].get("annotations", {})
            for key in ("proxy-read-timeout", "proxy-send-timeout"):
                if int(notes.get(f"nginx.ingress.kubernetes.io/{key}", 60)) < PAUSE_S_MIN:
                    yield f"{name(document)}: {key} cuts a pause"
            if notes.get("nginx.ingress.kubernetes.io/proxy-body-size") != "0":
                yield f"{name(document)}: the size of a call is limited"
    yield from (f"GRPCRoute/{route}: Envoy ends each call after 15 s, without a BackendTrafficPolicy" for route in sorted(routes))


RULES: tuple[Rule, ...] = (
    restricted, resources, no_tokens_no_links, images, secrets, namespaces, one_scaler, selectors, nims, calls_are_not_cut,
)  # fmt: skip


def word_problems(text: str) -> list[str]:
    """Words that a YAML reader takes for true or false, unless somebody quotes them."""
    tokens = (token for token in yaml.scan(text, Loader=LOADER) if isinstance(token, yaml.ScalarToken) and token.plain)
    return [
        f"line {token.start_mark.line + 1}: {token.value} is a word or a boolean" for token in tokens if WORDS.match(token.value)
    ]


# --- what is made from elsewhere ---------------------------------------------------------------------------------------------


def alerts_file(component: str) -> Path:
    """Where the PrometheusRule of a component is."""
    return KUSTOMIZE / "components" / component / "prometheusrule.yaml"


def alerts(component: str) -> str:
    """The PrometheusRule of a component, made from the rules file that has the tests and the runbooks."""
    source, named, about = ALERTS[component]
    rules = yaml.safe_load((ROOT / "deploy" / "monitoring" / source).read_text(encoding="utf-8"))
    labels = {"app.kubernetes.io/name": "voicefsm", "app.kubernetes.io/component": about}
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": named, "labels": labels},
        "spec": rules,
    }
    text = yaml.dump(made, Dumper=_Indented, sort_keys=False, width=140, allow_unicode=True)
    return f"# Made by `deploy.py --rewrite` from deploy/monitoring/{source}; do not edit.\n{text}"


class _Indented(yaml.SafeDumper):
    """Lists stand further in than what they belong to, as everywhere here."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  # yaml's signature
        super().increase_indent(flow, False)


# --- all together -------------------------------------------------------------------------------------------------------------


def problems(directory: Path, text: str) -> list[str]:
    """Everything that is wrong with a combination, its schemas apart."""
    golden = directory / "render.yaml"
    objects = documents(text)
    found = [problem for rule in RULES for problem in rule(objects)] + word_problems(text)
    if not golden.exists() or golden.read_text(encoding="utf-8") != text:
        found.append(f"{golden.relative_to(ROOT)} is not what is rendered: look at the diff of `deploy.py --rewrite`")
    return found


def all_schema_problems(texts: dict[str, str]) -> dict[str, list[str]]:
    """Of every combination; an object that several have is looked at once."""
    seen: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for combination, text in texts.items():
        for part, document in ((part, documents(part)[0]) for part in text.split("\n---\n")):
            if part not in seen:
                versions = VERSIONS if not _has_own_schema(document) else VERSIONS[:1]
                seen[part] = [problem for version in versions for problem in schema_problems(document, version)]
            found.setdefault(combination, []).extend(seen[part])
    return found


def _has_own_schema(document: Document) -> bool:
    return "." in document["apiVersion"] and not document["apiVersion"].partition("/")[0].endswith("k8s.io")


def render_all() -> dict[str, str]:
    """Combination to render."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip([path.name for path in combinations()], pool.map(render, combinations()), strict=True))


def used(directory: Path) -> set[str]:
    """The components that a combination has, its own and those of what it builds on."""
    told = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    below = [(directory / each).resolve() for each in told.get("resources", ())]
    return {Path(each).name for each in told.get("components", ())}.union(*(used(each) for each in below if each.is_dir()))


def matrix(texts: dict[str, str], wrong: dict[str, list[str]]) -> str:
    """Combination, number of objects, verdict, components."""
    lines = [f"{'combination':26} {'objects':>7}  {'':6}  components"]
    for path in combinations():
        verdict = "FAILED" if wrong[path.name] else "ok"
        lines.append(f"{path.name:26} {len(documents(texts[path.name])):7}  {verdict:6}  {' '.join(sorted(used(path))) or '-'}")
    return "\n".join(lines)


def main(*, rewrite: bool) -> int:
    """Check everything; the exit code."""
    for component in ALERTS if rewrite else ():
        alerts_file(component).write_text(alerts(component), encoding="utf-8")
    texts = render_all()
    if rewrite:
        for path in combinations():
            (path / "render.yaml").write_text(texts[path.name], encoding="utf-8")
    wrong = all_schema_problems(texts)
    for path in combinations():
        wrong[path.name] += problems(path, texts[path.name])
    for combination, found in wrong.items():
        for problem in found:
            print(f"{combination}: {problem}")  # noqa: T201
    print(matrix(texts, wrong))  # noqa: T201
    failed = sum(bool(found) for found in wrong.values())
    print(f"deploy: {len(texts) - failed} combinations passed, {failed} failed; Kubernetes {' and '.join(VERSIONS)}")  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(rewrite="--rewrite" in sys.argv[1:]))
