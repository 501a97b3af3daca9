"""The digest of the image that the Dockerfile starts from: `base_digest.py [--write | --check]`.

Prints `name:tag@sha256:…` as the registry has it now, for all platforms; --write puts it into the Dockerfile. --check asks nobody:
it fails unless the Dockerfile has a digest. Dependabot keeps one that is there up to date.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parents[1] / "Dockerfile"
DIGEST = "sha256:[0-9a-f]{64}"
BASE = re.compile(rf"(?m)^FROM (?P<host>[\w.:-]+)/(?P<name>[\w./-]+):(?P<tag>[\w.-]+)(?:@(?P<digest>{DIGEST}))? AS python$")
HUB = {"docker.io": "registry-1.docker.io"}
"""Where the interface is, if not where the name says."""
KINDS = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
"""Lists over platforms, so that one digest serves them all."""
ANSWER_S_MAX = 30


def base(text: str) -> re.Match[str]:
    """The line of the Dockerfile. Raises `SystemExit` where there is none."""
    found = BASE.search(text)
    if found is None:
        raise SystemExit(f"base_digest: no line `FROM HOST/NAME:TAG AS python` in {DOCKERFILE}")
    return found


def digest(host: str, name: str, tag: str, scheme: str = "https") -> str:
    """What the registry says. Raises `SystemExit` with its error."""
    url = f"{scheme}://{HUB.get(host, host)}/v2/{name}/manifests/{tag}"
    try:
        try:
            told = _ask(url, "")
        except urllib.error.HTTPError as refused:
            if refused.code != 401:  # noqa: PLR2004  # the registry wants a token first, even of strangers
                raise
            told = _ask(url, _token(refused.headers["WWW-Authenticate"]))
    except OSError as error:
        raise SystemExit(f"base_digest: {url}: {error}") from error
    found = str(told["Docker-Content-Digest"])
    if not re.fullmatch(DIGEST, found):
        raise SystemExit(f"base_digest: {url} told no digest but {found}")
    return found


def _ask(url: str, token: str) -> Message:
    headers = {"Accept": KINDS} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, method="HEAD", headers=headers)  # noqa: S310  # https, but in the tests
    with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:  # noqa: S310
        headers_told: Message = answer.headers
        return headers_told


def _token(challenge: str) -> str:
    parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({key: parts[key] for key in ("service", "scope") if key in parts})
    with urllib.request.urlopen(f"{parts['realm']}?{query}", timeout=ANSWER_S_MAX) as answer:  # noqa: S310  # the registry's own
        return str(json.load(answer)["token"])


def main(arguments: list[str]) -> int:
    """The exit code."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    found = base(text)
    if arguments == ["--check"]:
        if not found["digest"]:
            print(f"base_digest: {found['name']}:{found['tag']} is not pinned. Run scripts/base_digest.py --write", file=sys.stderr)  # noqa: T201
        return not found["digest"]
    if arguments not in ([], ["--write"]):
        raise SystemExit("usage: base_digest.py [--write | --check]")
    pinned = f"{found['host']}/{found['name']}:{found['tag']}@{digest(found['host'], found['name'], found['tag'])}"
    if arguments:
        DOCKERFILE.write_text(text.replace(found[0], f"FROM {pinned} AS python"), encoding="utf-8")
    print(pinned)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
