"""Echo: what the loudspeaker rendered, how much of it is left, and whether it explains what the voice detector sees."""
