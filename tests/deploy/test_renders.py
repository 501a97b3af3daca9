"""Every combination renders to what was reviewed, is valid, and keeps the rules; and each rule would be missed."""

from __future__ import annotations

import copy
import re
import subprocess
import sys

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, environment, tool

BASE_KINDS = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount",
}  # fmt: skip


def test_every_combination_is_what_was_reviewed_and_keeps_the_rules(deploy, renders):
    """Otherwise something would be applied that nobody has read, or that a trap is known in."""
    assert len(renders) > 10
    for path in deploy.combinations():
        assert deploy.problems(path, renders[path.name]) == []


def test_the_alerts_are_those_that_have_tests_and_runbooks(deploy):
    """Otherwise a cluster would have other alerts than the ones that promtool tests. `deploy.py --rewrite` mends it."""
    for component in deploy.ALERTS:
        assert deploy.alerts_file(component).read_text(encoding="utf-8") == deploy.alerts(component)
    made = {path.parent.name for path in (DEPLOY / "kustomize" / "components").glob("*/prometheusrule.yaml")}
    assert made == deploy.ALERTS.keys()


def test_every_dashboard_is_deployed(deploy, objects):
    """Otherwise one would be maintained, and never seen."""
    there = {path.name for path in (DEPLOY / "monitoring" / "dashboards").glob("*.json")}
    (shown,) = [each for each in objects["keda"] if each["metadata"]["name"] == "voicefsm-dashboards"]
    assert set(shown["data"]) == there
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_every_object_is_valid_by_the_strict_schema_of_the_oldest_and_the_newest_kubernetes(deploy, renders):
    """Otherwise a server would refuse it, or, worse, take it and ignore a field that was misspelt."""
    assert {name: found for name, found in deploy.all_schema_problems(renders).items() if found} == {}


def test_every_overlay_and_component_is_in_a_combination(deploy):
    """Otherwise it could stop rendering, and nobody would know before it is needed."""
    used = set.union(*(deploy.used(path) for path in deploy.combinations()))
    assert {path.parent.name for path in (DEPLOY / "kustomize" / "components").glob("*/kustomization.yaml")} == used
    overlays = {path.parent.name for path in (DEPLOY / "kustomize" / "overlays").glob("*/kustomization.yaml")}
    assert overlays <= {path.name for path in deploy.combinations()}


def test_the_base_needs_nothing_installed_and_nothing_of_the_cluster(objects):
    """Otherwise it could not be applied by whoever may only use a namespace."""
    assert {document["kind"] for document in objects["base"]} == BASE_KINDS
    assert {document["kind"] for document in objects["dev"]} <= BASE_KINDS


def test_every_kustomization_opens_with_what_it_adds():
    """Otherwise one would have to read all of it to know."""
    for path in sorted((DEPLOY / "kustomize").rglob("kustomization.yaml")):
        assert path.read_text(encoding="utf-8").startswith("# "), path


def test_no_kustomization_touches_selectors_or_reaches_out():
    """Otherwise an apply would fail on what is immutable, or fetch something nobody pinned."""
    for path in sorted((DEPLOY / "kustomize").rglob("kustomization.yaml")):
        text = path.read_text(encoding="utf-8")
        assert "commonLabels" not in text, path
        assert "includeSelectors: true" not in text, path
        assert not re.search(r"(?m)^\s*- *(https?:|git@|github\.com)", text), path


def test_a_component_that_copies_finds_the_namespace_in_place(deploy):
    """Otherwise a replacement would carry the name from before `namespace:` (kustomize #5442): it takes an overlay of two steps."""
    for path in sorted((DEPLOY / "kustomize").rglob("kustomization.yaml")):
        told = deploy.yaml.safe_load(path.read_text(encoding="utf-8"))
        if "namespace" in told and "components" in told and told["kind"] == "Kustomization":
            copying = [
                each for each in told["components"] if "replacements" in (path.parent / each / "kustomization.yaml").read_text()
            ]
            assert not copying or all(namespaced(deploy, path.parent / each) for each in told["resources"]), path


def namespaced(deploy, directory):
    told = deploy.yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    return "namespace" in told


def test_yaml_says_what_it_seems_to(deploy):
    """Otherwise `n` would be a name to us and false to the server."""
    files = [path for path in sorted(DEPLOY.rglob("*.y*ml")) if path.name != "render.yaml"]
    assert len(files) > 40
    assert {path: found for path in files if (found := deploy.word_problems(path.read_text(encoding="utf-8")))} == {}
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "deploy", ".github"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_action_is_pinned_by_its_commit():
    """Otherwise a tag that is moved would run somebody else's code with our rights to publish."""
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        named = re.findall(r"(?m)^\s*(?:- )?uses: (.*)$", path.read_text(encoding="utf-8"))
        assert named, path
        for action in named:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+", action), f"{path.name}: {action}"


WORKFLOWS = ROOT / ".github" / "workflows"


def said(*command: object) -> str:
    """What a tool beside our Python complains about; nothing if it has no complaint."""
    program = tool(str(command[0]))
    if program is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run([program, *map(str, command[1:])], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_the_workflows_are_what_github_understands_and_give_nothing_away():
    """Otherwise a release would fail on its day; or a pull request of anybody could publish one."""
    schema = ("check-jsonschema", "--builtin-schema")
    assert not said(*schema, "vendor.github-workflows", *sorted(WORKFLOWS.glob("*.yml")))
    assert not said(*schema, "vendor.dependabot", ROOT / ".github" / "dependabot.yml")
    assert not said("zizmor", "--offline", "--quiet", ROOT / ".github")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("permissions:\n  contents: read", "permissions: write-all"),
        ("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "somebody/checkout@main"),
        ("run: .ci/run", "run: .ci/run ${{ github.event.pull_request.title }}"),
    ],
)
def test_a_workflow_that_gives_something_away_would_be_seen(tmp_path, right, wrong):
    """Otherwise the check above could not fail."""
    text = (WORKFLOWS / "ci.yml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "ci.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert said("zizmor", "--offline", "--quiet", tmp_path / "ci.yml")


def test_a_workflow_that_github_does_not_understand_would_be_seen(tmp_path):
    """As above."""
    text = (WORKFLOWS / "ci.yml").read_text(encoding="utf-8").replace("timeout-minutes", "timeout-minuets", 1)
    (tmp_path / "ci.yml").write_text(text, encoding="utf-8")
    assert said("check-jsonschema", "--builtin-schema", "vendor.github-workflows", tmp_path / "ci.yml")


def test_a_release_renders_every_overlay_with_its_digests(deploy, tmp_path):
    """Otherwise the files of a release would deploy whatever the tag is moved to."""
    gateway, embedded = (f"sha256:{digit * 64}" for digit in "12")
    command = [ROOT / "scripts" / "release_overlays.sh", tmp_path, "ghcr.io/somebody/voicefsm", gateway, embedded]
    done = subprocess.run(command, env=environment(), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    overlays = {path.parent.name for path in (DEPLOY / "kustomize" / "overlays").glob("*/kustomization.yaml")}
    assert {path.stem for path in tmp_path.glob("*.yaml")} == overlays
    for path in tmp_path.glob("*.yaml"):
        found = {image for image in deploy._images(deploy.documents(path.read_text(encoding="utf-8"))) if "somebody" in image}
        assert found == {f"ghcr.io/somebody/voicefsm@{embedded if path.stem == 'dev' else gateway}"}


def test_the_dockerfile_keeps_hadolints_rules():
    """Otherwise an image would carry what nobody meant to put there."""
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not here")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout


# --- each check would be missed --------------------------------------------------------------------------------------------------


def kind(objects, wanted):
    return next(document for document in objects if document["kind"] == wanted)


def spoil_token(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] = True


def spoil_links(objects):
    del kind(objects, "Deployment")["spec"]["template"]["spec"]["enableServiceLinks"]


def spoil_root(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def spoil_user(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = 0


def spoil_volume(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


def spoil_memory(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "2Gi"


def spoil_cpu(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"


def spoil_image(objects):
    kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/voicefsm/voicefsm:latest"


def spoil_nim_image(objects):
    del kind(objects, "NIMService")["spec"]["image"]["tag"]


def spoil_secret(objects):
    objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ngc-api", "namespace": "voicefsm"}})


def spoil_namespace(objects):
    objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "voicefsm", "namespace": "voicefsm"}})


def spoil_second_namespace(objects):
    kind(objects, "Service")["metadata"]["namespace"] = "default"


def spoil_replicas(objects):
    kind(objects, "Deployment")["spec"]["replicas"] = 3


def spoil_no_scaler(objects):
    objects.remove(kind(objects, "HorizontalPodAutoscaler"))


def spoil_two_scalers(objects):
    objects.append(copy.deepcopy(kind(objects, "HorizontalPodAutoscaler")) | {"kind": "ScaledObject"})


def spoil_selector(objects):
    kind(objects, "Deployment")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/part-of"] = "voicefsm"


def spoil_nim_scale(objects):
    kind(objects, "NIMService")["spec"]["scale"] = {"enabled": True}


def spoil_nim_start(objects):
    kind(objects, "NIMService")["spec"]["startupProbe"]["probe"]["failureThreshold"] = 120


def spoil_nim_memory(objects):
    kind(objects, "NIMService")["spec"]["resources"]["requests"]["memory"] = "8Gi"


def spoil_nim_null(objects):
    kind(objects, "NIMService")["spec"]["storage"]["sharedMemorySizeLimit"] = None


def spoil_timeout(objects):
    del kind(objects, "BackendTrafficPolicy")["spec"]["timeout"]["http"]["requestTimeout"]


def spoil_pause(objects):
    kind(objects, "BackendTrafficPolicy")["spec"]["timeout"]["http"]["streamIdleTimeout"] = "300s"


def spoil_pause_of_the_client(objects):
    del kind(objects, "ClientTrafficPolicy")["spec"]["timeout"]["http"]["streamIdleTimeout"]


def spoil_policy(objects):
    objects.remove(kind(objects, "BackendTrafficPolicy"))


SPOILERS = [value for name, value in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_a_broken_rule_would_be_seen(deploy, objects, spoil):
    """Otherwise the rules above could not fail."""
    spoilt = copy.deepcopy(objects["gpu-production"])
    spoil(spoilt)
    assert [problem for rule in deploy.RULES for problem in rule(spoilt)]


def test_a_copied_namespace_is_the_real_one(objects):
    """Otherwise KEDA would count the conversations of another namespace, or of none."""
    scaled = kind(objects["keda"], "ScaledObject")
    assert f'namespace="{scaled["metadata"]["namespace"]}"' in scaled["spec"]["triggers"][0]["metadata"]["query"]


def test_the_controller_of_the_ingress_cuts_no_pause(deploy):
    """Otherwise a muted caller would be cut off after 60 s, by a limit that no Ingress can raise."""
    values = (DEPLOY / "kustomize" / "components" / "ingress-nginx" / "controller.yaml").read_text(encoding="utf-8")
    (found,) = deploy.documents(values)
    assert int(found["controller"]["config"]["client-body-timeout"]) >= deploy.PAUSE_S_MIN


def test_an_ingress_that_cuts_a_pause_would_be_seen(deploy, objects):
    """As above; the overlay above has none."""
    spoilt = copy.deepcopy(objects["dev-ingress-nginx"])
    kind(spoilt, "Ingress")["metadata"]["annotations"].clear()
    assert len(list(deploy.calls_are_not_cut(spoilt))) == 3


@pytest.mark.parametrize(
    ("wanted", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSecond"), 30),  # misspelt
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), "two"),
        ("NIMService", ("spec", "router"), {}),  # a field of NVIDIA's samples that its schema does not have
        ("NIMService", ("spec", "expose", "service", "grpcport"), 50051),
        ("NIMService", ("spec", "scale"), {"enabled": True, "hpa": {"maxReplicas": 2}}),  # a rule in CEL: not beside replicas
        ("BackendTrafficPolicy", ("spec", "targetRefs", 0, "kind"), "Deployment"),  # another
        ("GRPCRoute", ("spec", "rules", 0, "matches", 0, "method"), {"type": "Exact"}),  # another
        ("BackendTrafficPolicy", ("spec", "timeout", "http", "requestTimeout"), "none"),
        ("GRPCRoute", ("spec", "timeouts"), {}),  # HTTPRoute has it
        ("Deployment", ("kind",), "Deploymint"),  # a kind without a schema
    ],
)
def test_what_a_strict_server_refuses_is_refused_here(deploy, objects, wanted, path, value):
    """Otherwise a misspelt field would be ignored by the server, or an unknown kind by us."""
    spoilt = copy.deepcopy(kind(objects["gpu-production"], wanted))
    node = spoilt
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    assert deploy.schema_problems(spoilt, deploy.VERSIONS[-1])


PLANTED = {
    "a field": ("\n  replicas: 1\n", "\n  replica: 1\n", "replica"),
    "a kind": ("kind: Deployment", "kind: Deploymint", "no schema of apps/v1 Deploymint"),
    "a version": ("apiVersion: apps/v1\n", "apiVersion: apps/v2\n", "no schema of apps/v2 Deployment"),
    "a type": ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: half a minute", "half a minute"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_in_a_combination_fails_the_command(deploy, monkeypatch, tmp_path, capsys, planted):
    """Otherwise `tox -e deploy` would print `ok` beside what no server takes."""
    right, wrong, told = PLANTED[planted]
    deploy.kubectl()  # is kept: it is not looked for where the planted combination is
    planted_in = tmp_path / "deploy" / "kustomize" / "tests" / "planted"
    planted_in.mkdir(parents=True)
    text = (DEPLOY / "kustomize" / "tests" / "dev" / "render.yaml").read_text(encoding="utf-8")
    assert right in text
    (planted_in / "resources.yaml").write_text(text.replace(right, wrong), encoding="utf-8")
    (planted_in / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [resources.yaml]\n", encoding="utf-8"
    )
    monkeypatch.setattr(deploy, "KUSTOMIZE", tmp_path / "deploy" / "kustomize")
    monkeypatch.setattr(deploy, "ROOT", tmp_path)
    (planted_in / "render.yaml").write_text(deploy.render(planted_in), encoding="utf-8")
    assert deploy.main(rewrite=False) == 1
    printed = capsys.readouterr().out
    assert told in printed
    assert re.search(r"(?m)^planted .* FAILED", printed)
    assert "deploy: 0 combinations passed, 1 failed" in printed


@pytest.mark.parametrize("word", ["n", "y", "off", "Yes", "NO"])
def test_a_word_that_is_a_boolean_would_be_seen(deploy, word):
    """Otherwise the check above could not fail."""
    assert deploy.word_problems(f"name: {word}\n")
    assert not deploy.word_problems(f'name: "{word}"\n')


def test_a_render_that_nobody_reviewed_would_be_seen(deploy, renders):
    """Otherwise a golden render would be an ornament."""
    path = next(path for path in deploy.combinations() if path.name == "dev")
    assert deploy.problems(path, renders["dev"] + "# changed\n")


def test_links_of_the_pages_lead_somewhere():
    """Otherwise a reader would be sent to a page that is not there."""
    pages = sorted(DEPLOY.rglob("*.md"))
    assert pages
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page}: {link}"
