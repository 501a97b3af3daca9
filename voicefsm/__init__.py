"""voicefsm: a full-duplex voice conversation engine whose whole behaviour is one printed page."""

__version__ = "0.1.0"
