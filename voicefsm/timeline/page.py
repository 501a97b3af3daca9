"""The picture as a page of its own: the drawing as inline SVG, the recording to listen to, and a table of the turns.

Nothing is fetched from anywhere. A recording in the page's own directory is referred to by name; any other is put into the page.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

from voicefsm.timeline.picture import Row
from voicefsm.timeline.session import Session, Turn

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 1500px; margin: 1rem auto; padding: 0 1rem; }}
#score {{ position: relative; }} #score svg {{ width: 100%; height: auto; display: block; }}
#head {{ position: absolute; width: 2px; background: #c81e1e; pointer-events: none; display: none; }}
audio {{ width: 100%; margin: .5rem 0; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #e4e7eb; }}
th {{ color: #616e7c; font-weight: 600; }} td.number {{ white-space: nowrap; }}
.interrupted {{ color: #c81e1e; }} .completed {{ color: #0f7a5a; }} .failed {{ color: #7b1fa2; }}
.unheard {{ color: #9aa5b1; text-decoration: line-through; }}
</style></head><body>
{audio}
<div id="score">{svg}<div id="head"></div></div>
<table><thead><tr><th>at</th><th>user</th><th>assistant <span class="unheard">never heard</span></th><th>outcome</th>
<th>latencies</th></tr></thead><tbody>
{rows}
</tbody></table>
<script>
const rows = {places}, audio = document.querySelector("audio"), head = document.getElementById("head"),
  score = document.getElementById("score");
function show() {{
  const ms = audio.currentTime * 1000, row = rows.find(r => ms >= r.start_ms && ms < r.end_ms);
  head.style.display = row ? "block" : "none";
  if (row) {{
    head.style.left = 100 * (row.left + (row.right - row.left) * (ms - row.start_ms) / (row.end_ms - row.start_ms)) + "%";
    head.style.top = 100 * row.top + "%"; head.style.height = 100 * (row.bottom - row.top) + "%";
  }}
  if (!audio.paused) requestAnimationFrame(show);
}}
if (audio) {{
  audio.onplay = audio.onseeked = show;
  score.onclick = click => {{
    const box = score.getBoundingClientRect();
    const x = (click.clientX - box.left) / box.width, y = (click.clientY - box.top) / box.height;
    const row = rows.find(r => y >= r.top && y <= r.bottom && x >= r.left && x <= r.right);
    if (row) audio.currentTime = (row.start_ms + (row.end_ms - row.start_ms) * (x - row.left) / (row.right - row.left)) / 1000;
  }};
}}
</script></body></html>
"""


def page(session: Session, svg: str, places: Sequence[Row], title: str, audio: str) -> str:
    """The whole page. `svg` is the drawing; `audio` is what `audio_of` returned, or empty."""
    return _PAGE.format(
        title=html.escape(title),
        audio=audio,
        svg=svg[svg.index("<svg") :],
        rows="\n".join(_row(turn) for turn in session.turns),
        places=json.dumps([{name: round(getattr(row, name), 5) for name in row.__slots__} for row in places]),
    )


def audio_of(wav: Path, out: Path, caption: str = "") -> str:
    """The element that plays a recording, under its caption."""
    if wav.resolve().parent == out.resolve().parent:
        source = html.escape(wav.name, quote=True)
    else:
        source = f"data:audio/wav;base64,{base64.b64encode(wav.read_bytes()).decode()}"
    heading = f"<p>{html.escape(caption)}</p>\n" if caption else ""
    return f'{heading}<audio controls preload="auto" src="{source}"></audio>\n'


def _row(turn: Turn) -> str:
    heard, unheard = split_heard(turn)
    rest = f' <span class="unheard">{html.escape(unheard)}</span>' if unheard else ""
    latencies = "<br>".join(f"{name.removesuffix('_ms').replace('_', ' ')} {value} ms" for name, value in turn.latencies.items())
    outcome = html.escape(turn.outcome)
    return (
        f'<tr><td class="number">{turn.at_ms // 60_000}:{turn.at_ms / 1000 % 60:04.1f}</td><td>{html.escape(turn.user_text)}</td>'
        f'<td>{html.escape(heard)}{rest}</td><td class="{outcome}">{outcome}</td><td class="number">{latencies}</td></tr>'
    )


def split_heard(turn: Turn) -> tuple[str, str]:
    """What was heard of a reply, and the rest that never was."""
    written = turn.assistant_text
    if turn.heard_text is None:
        return written, ""
    words, heard = written.split(), turn.heard_text.split()
    return turn.heard_text, " ".join(words[len(heard) :])
