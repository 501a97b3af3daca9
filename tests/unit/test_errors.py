"""Whose fault it is."""

from __future__ import annotations

import pytest

from voicefsm import errors
from voicefsm.values import Backend

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VoiceFsmError)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_on_the_page_is_the_tree_of_the_program(kind):
    """Otherwise the module's picture of whose fault is what would lie."""
    assert kind.__name__ in (errors.__doc__ or "")


def test_a_client_error_is_the_clients():
    """Otherwise the gateway would answer INTERNAL for a client's mistake."""
    faults = {errors.InvalidMessage, errors.OutOfOrder, errors.NotOffered, errors.Unsupported, errors.TooMuch}
    faults |= {errors.NotIdentified, errors.NotPermitted, errors.NotThere, errors.NothingToResume}
    assert {kind for kind in KINDS if kind.__base__ is errors.RemoteProtocolError} == faults


def test_message_and_remedy():
    """Otherwise logs would not say what to do next."""
    error = errors.Draining("The server stops.", remedy="Try another.")
    assert (error.message, error.remedy, str(error)) == ("The server stops.", "Try another.", "The server stops. Try another.")
    assert str(errors.SettingsError("Unknown.")) == "Unknown."


def test_a_backend_error_says_which_and_whether_to_try_again():
    """Otherwise the machine could not tell the model's fault from the voice's."""
    error = errors.BackendError(Backend.TTS, "Gone.", retryable=False)
    assert (error.backend, error.retryable, errors.BackendError(Backend.LLM, "x").retryable) == (Backend.TTS, False, True)
