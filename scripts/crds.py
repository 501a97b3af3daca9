"""Makes strict JSON schemas from CustomResourceDefinitions, for `scripts/deploy.py`: `crds.py SOURCE VERSION FILE...`.

Third-party resources are validated offline, so their schemas are committed (deploy/kustomize/schemas, see its NOTICE). From the
CRD is left out what does not validate (descriptions, formats, Kubernetes' own extensions but its rules in CEL), and added what a
strict server does besides: refuse fields that nobody declared. Defaults stay, since the rules see them.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).resolve().parents[1] / "deploy" / "kustomize" / "schemas"
SAYS_NOTHING = {"description", "format", "example", "externalDocs", "nullable"}
RULES = "x-kubernetes-validations"


def strict(schema: Any, *, is_property_map: bool = False) -> Any:
    """`schema` without what does not validate, closed against undeclared fields."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if is_property_map:
        return {name: strict(part) for name, part in schema.items()}
    kept = {
        key: strict(value, is_property_map=key == "properties")
        for key, value in schema.items()
        if key not in SAYS_NOTHING and key not in {"default", RULES} and not key.startswith("x-kubernetes-")
    }
    kept |= {key: schema[key] for key in ("default", RULES) if key in schema}
    if schema.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    if "properties" in kept and "additionalProperties" not in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def schemas(crd: dict[str, Any]) -> dict[str, Any]:
    """File name to schema, of the version that the server keeps."""
    spec, kind = crd["spec"], crd["spec"]["names"]["kind"]
    kept = [version for version in spec["versions"] if version.get("storage")]
    return {f"{kind}_{spec['group']}_{each['name']}.json": strict(each["schema"]["openAPIV3Schema"]) for each in kept}


def main(source: str, version: str, files: list[str]) -> None:
    """Write the schemas of every CRD in `files`."""
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for file in files:
        for crd in yaml.safe_load_all(Path(file).read_text(encoding="utf-8")):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            for name, schema in schemas(crd).items():
                noted = {"$comment": f"Made by scripts/crds.py from {Path(file).name} of {source} {version}, Apache-2.0.", **schema}
                (SCHEMAS / name).write_text(json.dumps(noted, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")
                print(f"{name}: {(SCHEMAS / name).stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
