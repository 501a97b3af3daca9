"""`voicefsm bench turns`: the whole gateway against recorded users, and a scorer that reads what it did off the sound.

bench         from what was wished for to the verdict
stimuli       a set in a directory: audio, and when what happens in it
make, voices  the project's own small set
run           items through gateways
clock         virtual time over real sockets
backends      a recogniser that hears the set's words, a model, a voice whose audio says where it is
pilot         that voice: tones that carry (reply, frame)
telephone     the client: plays an item, records what the loudspeaker rendered
room          a loudspeaker whose echo reaches the microphone
score         the figures
report        table, failures, limits; `picture` draws
"""
