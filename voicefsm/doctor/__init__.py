"""Checks settings, backends and this machine, and says what to do about every problem."""

from voicefsm.doctor.examine import Patient, examine, show, summary

__all__ = ["Patient", "examine", "show", "summary"]
