"""The ports, implemented: one foreign library per file.

Every adapter takes frozen settings of its own module and raises nothing but `BackendError`; a foreign exception never leaves its
file. No adapter retries: inside a turn the state machine decides.
"""
