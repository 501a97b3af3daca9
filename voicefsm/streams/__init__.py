"""The small machines: near-end speech, recognition, generation, playout.

Each keeps book of one stream of facts so that the turn machine can ask simple questions. They are fed before the turn machine,
in the same step, and talk to it only through facts they raise. None of them decides whose turn it is.
"""
