"""A client in another ecosystem: Node, which knows nothing of us but the .proto."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from voicefsm.app import running
from voicefsm.config import load
from voicefsm.scripted import ScriptedLlm, ScriptedRiva

HERE = Path(__file__).parent / "node"
PROTO = Path(__file__).parents[2] / "protos" / "voicefsm" / "v1" / "conversation.proto"
INSTALL_S_MAX = 120
TURN_S_MAX = 60


def missing(why):
    """Skip loudly on a developer's machine; in CI what is missing is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{why}, and this is CI")
    pytest.skip(f"{why}: the Node client was NOT tested")


async def run(*command, cwd, timeout_s):
    """Run to the end; returns (code, output, errors)."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        pytest.fail(f"{command} did not end in {timeout_s} s")
    return process.returncode, output.decode(), errors.decode()


async def test_a_node_client_holds_a_turn(tmp_path):
    """If this fails the protocol can only be spoken from Python."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        missing("node or npm is not installed")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(HERE / name, tmp_path)
    code, _, errors = await run(npm, "ci", "--no-audit", "--no-fund", cwd=tmp_path, timeout_s=INSTALL_S_MAX)
    if code:
        missing(f"npm ci failed ({errors.strip().splitlines()[-1:]})")

    async with ScriptedRiva() as riva, ScriptedLlm(["Good to hear from another world. How is the weather there?"]) as llm:
        settings = load(
            overrides=["server.port=0", f"riva.target={riva.target}", f"llm.base_url={llm.base_url}", "llm.warm_up=false"]
        )
        async with running(settings) as port:
            arguments = (f"127.0.0.1:{port}", str(PROTO), "Hello from Node.")
            code, output, errors = await run(node, "client.mjs", *arguments, cwd=tmp_path, timeout_s=TURN_S_MAX)
        assert code == 0, output + errors
        assert llm.requests[0].messages[-1]["content"] == "Hello from Node."
    told = json.loads(output)
    assert told["status"] == 0
    assert told["error"] is None
    assert told["session_id"]
    assert told["states"] == ["STATE_PROCESSING", "STATE_SPEAKING", "STATE_IDLE", "STATE_CLOSED"]
    assert told["turn"]["outcome"] == "OUTCOME_COMPLETED"
    assert told["turn"]["user_text"] == "Hello from Node."
    assert told["turn"]["heard_text"] == told["turn"]["assistant_text"] == " ".join(told["sentences"])
    assert told["rendered_samples"] == told["audio_samples"] > 0
