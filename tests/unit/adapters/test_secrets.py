"""Secrets that follow their file."""

from __future__ import annotations

from voicefsm.adapters.secrets import Secret, current


def test_secret_is_what_its_file_says_now(tmp_path):
    """Otherwise a key that is exchanged needs a restart, which costs every session."""
    file = tmp_path / "key"
    file.write_text("one\n")
    secret = Secret("one", file)
    assert (secret, current(secret)) == ("one", "one")
    file.write_text("two\n")
    assert current(secret) == "two"


def test_secret_outlives_the_moment_its_file_is_exchanged(tmp_path):
    """Otherwise calls in that moment go out without a key and are refused."""
    file = tmp_path / "key"
    file.write_text("one")
    secret = Secret("one", file)
    file.write_text("two")
    assert current(secret) == "two"
    for gone in (lambda: file.write_text(""), file.unlink):
        gone()
        assert current(secret) == "two"


def test_what_cannot_be_sent_does_not_count(tmp_path):
    """Otherwise a key file of two lines fails every call, and the library's error tells the key to everybody."""
    file = tmp_path / "key"
    secret = Secret("one", file)
    for garbage in ("two\nlines", "sesamé", "\x00"):
        file.write_text(garbage)
        assert current(secret) == "one"


def test_secret_does_not_show():
    """Otherwise a key stands in a log."""
    assert repr(Secret("sesame")) == "'********'"
    assert repr(Secret("")) == "''"
    assert current(Secret("sesame")) == "sesame"
    assert current("plain") == "plain"
