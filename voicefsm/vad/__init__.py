"""From frames that may hold speech to stretches of near-end speech with an onset and an end."""
