"""Who may call."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicefsm.adapters.identities import (
    IDENTITIES_MAX,
    UNLIMITED,
    AuthSettings,
    CertificateAuthenticator,
    Chain,
    Identities,
    KeyAuthenticator,
    hash_of,
    new_key,
    parsed,
)
from voicefsm.errors import NotIdentified, NotPermitted, SettingsError
from voicefsm.ports import Allowance, Credentials, Identity

KEY, OLD = new_key(), new_key()
FILE = f"""
[kiosk-7]
key_sha256 = ["{hash_of(KEY)}", "{hash_of(OLD)}"]
sessions_max = 4

[nurse]
admin = true

[thief]
key_sha256 = ["{hash_of("stolen")}"]
disabled = true
"""
DEFAULT = Allowance(100, 600, 86_400_000)


def identities(tmp_path: Path, text: str = FILE, **settings: object) -> Identities:
    file = tmp_path / "identities.toml"
    file.write_text(text)
    return Identities(AuthSettings(identities_file=str(file), **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("shown", [Credentials(key=KEY), Credentials(token=KEY), Credentials(key=OLD)])
async def test_a_key_tells_who_calls_and_what_they_may_use(tmp_path: Path, shown: Credentials) -> None:
    """Otherwise keys do not open, or limits are everybody's; or an old key dies before the new one is everywhere."""
    found = await KeyAuthenticator(identities(tmp_path)).identify(shown)
    assert found == Identity("kiosk-7", Allowance(4, 600, 86_400_000), is_known=True)


@pytest.mark.parametrize("key", ["", hash_of(KEY), KEY[:-1], KEY + "x", "x" * 10_000])
async def test_another_key_opens_nothing(tmp_path: Path, key: str) -> None:
    """Otherwise the hash in the file, or half a key, is as good as the key."""
    authenticator = KeyAuthenticator(identities(tmp_path))
    if not key:
        assert await authenticator.identify(Credentials()) is None
        return
    with pytest.raises(NotIdentified, match="The API key is not known") as refused:
        await authenticator.identify(Credentials(key=key))
    assert key not in str(refused.value)


async def test_who_is_shut_out_stays_out(tmp_path: Path) -> None:
    """Otherwise a stolen key works until everybody has a new one."""
    known = identities(tmp_path)
    with pytest.raises(NotPermitted, match="thief is shut out"):
        await KeyAuthenticator(known).identify(Credentials(key="stolen"))
    with pytest.raises(NotPermitted, match="thief is shut out"):
        await CertificateAuthenticator(known).identify(Credentials(certificate_names=("a.example", "thief")))


async def test_a_jwt_is_no_key(tmp_path: Path) -> None:
    """Otherwise tokens are refused where keys are taken too."""
    assert await KeyAuthenticator(identities(tmp_path)).identify(Credentials(token="a.b.c")) is None


async def test_a_certificate_names_its_holder(tmp_path: Path) -> None:
    """Otherwise an operator cannot limit who comes with a certificate."""
    authenticator = CertificateAuthenticator(identities(tmp_path))
    assert await authenticator.identify(Credentials()) is None
    named = await authenticator.identify(Credentials(certificate_names=("host.example", "nurse")))
    assert named == Identity("nurse", DEFAULT, is_known=True, may_administer=True)
    other = await authenticator.identify(Credentials(certificate_names=("host.example", "spiffe://x/y")))
    assert other == Identity("host.example", DEFAULT)
    with pytest.raises(NotIdentified, match="is no name of an identity"):
        await authenticator.identify(Credentials(certificate_names=("two words",)))


async def test_only_who_is_named_where_that_is_asked_for(tmp_path: Path) -> None:
    """Otherwise everybody with a certificate of a big company's authority may call."""
    authenticator = CertificateAuthenticator(identities(tmp_path, only_named=True))
    with pytest.raises(NotPermitted, match=r"host\.example is not among those who may call"):
        await authenticator.identify(Credentials(certificate_names=("host.example",)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a", "is no TOML"),
        ('["two words"]', "its name must be"),
        ("a = 1", r"a: must be a section, \[a\]"),
        ('[a]\nkey_sha256 = ["abc"]', "a: key_sha256 must be a list of SHA-256"),
        ('[a]\nkey_sha256 = "abc"', "a: key_sha256 must be a list of SHA-256"),
        ("[a]\nsessions_max = 0", "a: sessions_max must be a whole number of at least 1"),
        ("[a]\nsessions_max = true", "a: sessions_max must be a whole number of at least 1"),
        ("[a]\nadmin = 1", "a: admin must be true or false"),
        ("[a]\nkey = 'vfk_'", "a: there is no key"),
        (f'[a]\nkey_sha256 = ["{"0" * 64}"]\n[b]\nkey_sha256 = ["{"0" * 64}"]', "b: has a key of a"),
        ("\n".join(f"[a{k}]" for k in range(IDENTITIES_MAX + 1)), "10000 are allowed"),
    ],
)
def test_a_bad_file_says_what_is_wrong_with_it(text: str, problem: str) -> None:
    """Otherwise a typing error gives somebody more than they should have, without a word."""
    with pytest.raises(SettingsError, match=problem):
        parsed(text.encode(), DEFAULT, "identities.toml")


def test_a_file_that_is_not_there_is_told_before_a_port_opens(tmp_path: Path) -> None:
    """Otherwise a server starts that knows nobody."""
    with pytest.raises(SettingsError, match=r"missing\.toml cannot be read.*Check auth\.identities_file"):
        Identities(AuthSettings(identities_file=str(tmp_path / "missing.toml")))


async def test_who_shows_nothing_is_let_in_only_where_nothing_is_asked_for(tmp_path: Path) -> None:
    """Otherwise a key on the file does not close the door."""
    keys = KeyAuthenticator(identities(tmp_path))
    with pytest.raises(NotIdentified, match=r"shows no credentials.*authorization: Bearer"):
        await Chain([keys], AuthSettings()).identify(Credentials())
    assert (await Chain([], AuthSettings(sessions_max=1)).identify(Credentials())).allowance == UNLIMITED
    anonymous = await Chain([keys], AuthSettings(allow_anonymous=True, sessions_max=1)).identify(Credentials())
    assert (anonymous.name, anonymous.allowance.sessions_max, anonymous.is_known) == ("anonymous", 1, False)


@pytest.mark.parametrize("shown", [Credentials(token="a.b.c"), Credentials(key=KEY)])
async def test_who_shows_what_nobody_knows_is_not_taken_for_anonymous(shown: Credentials) -> None:
    """Otherwise a client believes that its key was checked."""
    with pytest.raises(NotIdentified, match="takes no credentials of this kind"):
        await Chain([], AuthSettings()).identify(shown)
