"""The HTTP server of the embedded "language model": OpenAI's chat completions, on h11 and asyncio."""

from __future__ import annotations
