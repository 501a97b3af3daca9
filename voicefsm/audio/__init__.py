"""Samples: companding, sample rates, frames and the ring that holds them. numpy only; synchronous; bounded."""
