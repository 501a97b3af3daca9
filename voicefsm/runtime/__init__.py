"""A session at work: what is around the core, and the data plane beside it."""
