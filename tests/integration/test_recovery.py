"""docs/operations/disaster-recovery.md, done: everything is lost but a backup of three things."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.integration.test_resume import playing, until
from tests.redis import RedisServer
from voicefsm.adapters.identities import hash_of, new_key
from voicefsm.app import running
from voicefsm.client import Access, ClientSettings, Conversation, NotAllowed, NotOffered, SessionOptions, TurnCompleted
from voicefsm.config import load
from voicefsm.scripted import ScriptedLlm, ScriptedRiva
from voicefsm.simulation.replay import compare
from voicefsm.simulation.replay import read as read_journal

KEY = new_key()
PATIENT = ClientSettings(connect_ms_max=20_000)


def furnish(home: Path, redis: RedisServer) -> None:
    """A gateway's files, as an operator would write them."""
    home.mkdir()
    (home / "identities.toml").write_text(f'[kiosk]\nkey_sha256 = ["{hash_of(KEY)}"]\nsession_ms_max = 60000\n')
    settings = "[session]\nsystem_prompt = 'Be a pirate.'\n"
    settings += f"[resume]\nredis_url = '{redis.url}'\n"
    (home / "voicefsm.toml").write_text(settings)


async def converse(home: Path, token: str = "") -> tuple[str, str]:
    """Start a gateway of these files, hold a turn; returns the token and the prompt that the model saw."""
    async with ScriptedRiva() as riva, ScriptedLlm(["It is noon."]) as llm:
        read = partial(
            load,
            file=home / "voicefsm.toml",
            overrides=[
                "server.port=0", "server.drain_ms_max=0", f"riva.target={riva.target}", f"llm.base_url={llm.base_url}",
                "llm.warm_up=false", f"auth.identities_file={home / 'identities.toml'}", f"journal.dir={home / 'journals'}",
            ],
        )  # fmt: skip
        async with running(read()) as port:
            target = f"127.0.0.1:{port}"
            options, access = SessionOptions(resume_token=token), Access(key=KEY)
            with pytest.raises(NotAllowed):
                async with Conversation.connect(target, options, access=Access(key=new_key()), settings=PATIENT):
                    pass
            async with Conversation.connect(target, options, access=access, settings=PATIENT) as conversation:
                assert conversation.session.limits.session_ms_max == 60_000
                async with playing(conversation):
                    await conversation.send_text("what time is it")
                    done = (await until(conversation, TurnCompleted))[-1]
                assert isinstance(done, TurnCompleted)
                assert done.heard_text == "It is noon."
                return conversation.session.resume_token, llm.requests[-1].body["messages"][0]["content"]


async def test_a_gateway_is_rebuilt_from_its_backup(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise the page is a wish."""
    home, backup, rebuilt = tmp_path / "home", tmp_path / "backup", tmp_path / "rebuilt"
    furnish(home, redis_server)
    token, prompt = await converse(home)
    assert prompt == "Be a pirate."
    shutil.copytree(home, backup)
    shutil.rmtree(home)
    redis_server.ask("FLUSHALL")
    shutil.copytree(backup, rebuilt)
    with pytest.raises(NotOffered, match="not known here"):
        await converse(rebuilt, token)
    again, prompt = await converse(rebuilt)
    assert (again != token, prompt) == (True, "Be a pirate.")
    old = sorted((backup / "journals").iterdir())
    assert len(old) == 1
    recording = read_journal(rebuilt / "journals" / old[0].name)
    assert recording.steps
    assert compare(recording).differences == ()
    assert len(list((rebuilt / "journals").iterdir())) == 2
