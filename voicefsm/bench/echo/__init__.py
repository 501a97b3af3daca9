"""How well echo is cancelled and a barge-in told from it: `voicefsm bench echo`.

    voices -> scene (far end, microphone, its parts, the truth) -> subject (a canceller and its belief) -> metrics -> figures

A scene is a function of its condition, seed included. A subject is told nothing that a gateway would not know: the two signals,
and when playout reports arrive. Every figure comes with the count it rests on, and with an interval where it is a count itself.
"""
