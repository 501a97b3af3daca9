"""A small simulator of rooms, loudspeakers and echo paths: numpy only, everything a function of its seed, no files, no clock.

`rooms` makes impulse responses, `loudspeaker` distorts, `delay` moves and stretches time, `signals` has levels, convolution and
noise, and `echo_path` puts them together for closed loops, where what is rendered depends on what was heard before.
"""
