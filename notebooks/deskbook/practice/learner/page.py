"""A small page of feedback that says the same as HTML and as text.

The HTML takes its colours from JupyterLab's theme and its text colour from the page, so it can be read in
light and in dark. No meaning hangs on a colour alone: every state and every mark has its word. A screen
reader meets one labelled region.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from typing import Any

#: Tone -> colour of the bar at the left: a variable of JupyterLab's theme, and what to take elsewhere.
TONES = {
    "good": "var(--jp-success-color1, #2e7d32)",
    "bad": "var(--jp-error-color1, #d32f2f)",
    "plain": "var(--jp-info-color1, #0277bd)",
}

_PRE = 'style="margin:0.4em 0;white-space:pre-wrap;overflow-x:auto"'
_WIDTH = 96


class FeedbackPage:
    """Feedback, built from top to bottom.

    Args:
        title: What it is about, in a few words.
        tone: "good", "bad" or "plain".
    """

    def __init__(self, title: str, tone: str = "plain") -> None:
        self._title = title
        self._tone = tone
        self._text: list[str] = [title]
        self._html: list[str] = []

    def say(self, text: str, label: str = "") -> FeedbackPage:
        """Add a paragraph, with a bold label in front of it; one line break starts a new line."""
        if text:
            said = f"{label}: {text}" if label else text
            self._text += [part for line in said.splitlines() for part in _wrapped(line)]
            bold = f"<strong>{html.escape(label)}:</strong> " if label else ""
            body = "<br>".join(_inline(line) for line in text.splitlines())
            self._html.append(f'<p style="margin:0.4em 0">{bold}{body}</p>')
        return self

    def items(self, entries: Sequence[tuple[str, str]], label: str = "") -> FeedbackPage:
        """Add a list; each entry is a word, such as "passed", and a sentence."""
        if entries:
            self._text += [f"{label}:"] if label else []
            self._text += [part for word, text in entries for part in _wrapped(f"[{word}] {text}", "  ")]
            head = f'<p style="margin:0.4em 0 0"><strong>{html.escape(label)}:</strong></p>' if label else ""
            rows = "".join(
                f"<li><em>{html.escape(word)}:</em> {_inline(text)}</li>" for word, text in entries
            )
            self._html.append(f'{head}<ul style="margin:0.2em 0">{rows}</ul>')
        return self

    def code(self, text: str, label: str = "", *, folded: bool = False) -> FeedbackPage:
        """Add text whose layout counts, such as source; folded away it is one line until opened."""
        if text:
            self._text += [f"{label}:"] if label else []
            self._text += [f"    {line}".rstrip() for line in text.splitlines()]
            body = f"<pre {_PRE} tabindex='0'>{html.escape(text)}</pre>"
            self._html.append(_folded(label, body) if folded else _labelled(label, body))
        return self

    def picture(self, body: str, text: str, label: str) -> FeedbackPage:
        """Add a picture as HTML that holds the text too, and the text, which is all that a terminal shows."""
        self._text += [f"{label}:", *(f"    {line}".rstrip() for line in text.splitlines())]
        self._html.append(_labelled(label, body))
        return self

    def __str__(self) -> str:
        return "\n".join(self._text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        bar = f"border-left:4px solid {TONES[self._tone]};padding:0.2em 0 0.2em 0.9em"
        title = f'<p style="margin:0.2em 0"><strong>{html.escape(self._title)}</strong></p>'
        label = html.escape(self._title, quote=True)
        return f'<div role="region" aria-label="{label}" style="{bar}">{title}{"".join(self._html)}</div>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def _wrapped(line: str, indent: str = "") -> list[str]:
    """Break a line at spaces, but not inside of backticks: a command is copied whole."""
    kept = re.sub(r"`[^`]*`", lambda match: match[0].replace(" ", "\0"), line)
    further = indent + "  " if indent else ""
    wrap = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace("\0", " ") for part in wrap.wrap(kept)]


def _inline(text: str) -> str:
    """Escape text, and show what stands between backticks as code."""
    parts = html.escape(text).split("`")
    if len(parts) % 2 == 0:
        return html.escape(text)
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _labelled(label: str, body: str) -> str:
    head = f'<p style="margin:0.4em 0 0"><strong>{html.escape(label)}:</strong></p>' if label else ""
    return head + body


def _folded(label: str, body: str) -> str:
    return f"<details><summary>{html.escape(label)}</summary>{body}</details>"
