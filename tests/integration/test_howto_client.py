"""docs/howto/client.md: its Python client is run as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from voicefsm.app import running
from voicefsm.client import ToolFailed
from voicefsm.config import load
from voicefsm.scripted import ScriptedLlm, ScriptedRiva

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "client.md"
RUN_S_MAX = 60


def programs():
    """The whole client, and the tool."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


async def client(tmp_path, target):
    """Run the page's program; returns (code, output)."""
    program, _ = programs()
    (tmp_path / "client.py").write_text(program, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(tmp_path / "client.py"),
        target,
        "How are you?",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )
    async with asyncio.timeout(RUN_S_MAX):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_the_client_of_the_page_works(tmp_path):
    """If this fails whoever follows the page gets a client that does not run."""
    async with ScriptedRiva() as riva, ScriptedLlm(["I am fine."]) as llm:
        settings = load(overrides=["server.port=0", f"riva.target={riva.target}", f"llm.base_url={llm.base_url}"])
        async with running(settings) as port:
            code, output = await client(tmp_path, f"127.0.0.1:{port}")
    assert code == 0, output
    assert "assistant: I am fine.\n" in output
    assert output.endswith("heard: I am fine.\n")


async def test_the_client_of_the_page_says_what_is_wrong(tmp_path, unused_tcp_port):
    """If this fails a wrong address shows a stack trace."""
    code, output = await client(tmp_path, f"127.0.0.1:{unused_tcp_port}")
    assert code == 1
    assert output.startswith("UNAVAILABLE: ")
    assert "Traceback" not in output


async def test_the_tool_of_the_page_is_one():
    """If this fails whoever follows the page declares no tool, or another."""
    _, program = programs()
    there: dict[str, Any] = {}
    exec(program, there)  # the page is ours
    (weather,) = there["options"].tools
    assert weather.description.startswith("The weather forecast for a city.")
    assert (weather.parameters["required"], list(weather.parameters["properties"])) == (["city"], ["city", "days"])
    assert await weather.function(city="Paris", days=2) == "2 sunny days"
    with pytest.raises(ToolFailed, match="no forecast for Rome"):
        await weather.function(city="Rome")
