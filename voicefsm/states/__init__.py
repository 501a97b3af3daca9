"""The turn machine: who has the floor. One file per state; `common.py` holds the verbs that several states share.

A state's file says what the state means, which deadlines bound it, and what every fact does in it. Facts that only the small
machines (`voicefsm/streams/`) care about do not appear here.
"""
