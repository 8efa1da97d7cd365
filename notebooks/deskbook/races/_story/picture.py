"""A run as swimlanes: one lane a request, time from top to bottom, the observed state at the right.

Plain SVG, so that it prints, scales and can be read by a screen reader (its description is the text
timeline). The colours follow the page: JupyterLab's theme variables where they exist, else the system's light
or dark setting, and always light on paper. It paints its own paper, so it can be read on any page. Lanes
differ by position and name, not by colour alone.

GitHub and notebooks that are not trusted take `<svg>` out of a page, so there the same picture travels as an
`<img>` with a `data:` address, with its sentence as `alt` and the text timeline below it.
"""

from __future__ import annotations

import base64
import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deskbook.races._schedule import APP
from deskbook.races._story.outcome import Failure
from deskbook.races._story.recorded_step import RecordedStep

LANE_WIDTH = 264
GUTTER_WIDTH = 34
STATE_WIDTH = 236
LINE_HEIGHT = 15
PADDING = 7
HEAD_HEIGHT = 66
#: Characters of the monospace font that fit into a lane and into the state column.
LANE_CHARACTERS = 36
STATE_CHARACTERS = 34
#: Rows of a lane that one statement may take; what tells two statements apart often stands at their end.
STATEMENT_ROWS = 8

#: Colour pairs (light, dark) that keep 4.5:1 against their background; one a lane, then from the start again.
LANE_COLOURS = (
    ("#1b5fad", "#79b8ff"),
    ("#a4460b", "#ffab70"),
    ("#1b6e3c", "#85e89d"),
    ("#6f42c1", "#b392f0"),
)

#: One rule a line. The spaces and line ends in the rules are those of the pictures that are stored with the
#: lessons: a picture that has not changed must be the same byte for byte.
_STYLE = (
    "\n.dbr{--fg:var(--jp-content-font-color1,#1f2328);--bg:var(--jp-layout-color0,#fff);"
    "--dim:#57606a;--bad:#b3261e;%(light)s}"
    "\n@media\n(prefers-color-scheme:dark){"
    ".dbr{--fg:var(--jp-content-font-color1,#e6edf3);--bg:var(--jp-layout-color0,#0d1117);"
    "\n--dim:#9aa4ae;--bad:#ff8a80;%(dark)s}}"
    ' [data-jp-theme-light="false"]\n.dbr{--dim:#9aa4ae;--bad:#ff8a80;%(dark)s}'
    ' [data-jp-theme-light="true"]\n.dbr{--dim:#57606a;--bad:#b3261e;%(light)s}'
    " @media\nprint{.dbr{--fg:#000;--bg:#fff;--dim:#444;--bad:#b3261e;%(light)s}}"
    " .dbr text{fill:var(--fg);font:12px\nsystem-ui,sans-serif}"
    " .dbr .code{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    " .dbr\n.dim{fill:var(--dim)}"
    ".dbr .bad{fill:var(--bad);font-weight:600}"
    ".dbr .strong{font-weight:700}"
    " .dbr\n.paper{fill:var(--bg)}"
    ".dbr .switch{fill:none;stroke:var(--dim);stroke-dasharray:3 3}"
    " .dbr\n.rule{stroke:var(--dim);stroke-opacity:.35}"
    ".dbr .end{fill:none;stroke:var(--bad);stroke-width:1.5}"
    " %(lanes)s\n"
)


@dataclass
class _Canvas:
    """Collects SVG elements and keeps the height."""

    width: int
    y: int = HEAD_HEIGHT
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, content: str, style: str = "", *, whole: str = "") -> None:
        tooltip = f"<title>{html.escape(whole)}</title>" if whole and whole != content else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" xml:space="preserve"{_class(style)}>{tooltip}'
            f"{html.escape(content)}</text>"
        )

    def add(self, element: str) -> None:
        self.parts.append(element)


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""


@dataclass(frozen=True)
class Swimlanes:
    """The picture of a run.

    Attributes:
        names: The requests, one lane each, in this order.
        titles: Name -> what the request is, such as "POST /withdraw".
        schedule: The schedule as text.
        steps: What happened.
        failure: Why the run is a counterexample, or None.
        blocked: Who waits for whom at the end of a deadlock.
        text: The same run as text, for those who cannot see the picture.
    """

    names: Sequence[str]
    titles: Mapping[str, str]
    schedule: str
    steps: Sequence[RecordedStep]
    failure: Failure | None
    blocked: Sequence[str]
    text: str

    def svg(self) -> str:
        """Return the picture as an SVG document."""
        return _document(_drawn(self), self)

    def html(self) -> str:
        """Return the picture as HTML that no sanitiser empties: an image, and the same as text, folded.

        Only a width is given: the height follows it where a narrow page shrinks the image.
        """
        canvas = _drawn(self)
        address = base64.b64encode(_document(canvas, self).encode()).decode("ascii")
        return (
            f'<img src="data:image/svg+xml;base64,{address}" width="{canvas.width}" '
            f'alt="{html.escape(_sentence(self))}; the steps follow as text">\n'
            f"<details><summary>The same as text</summary>\n<pre>{html.escape(self.text)}</pre>\n</details>"
        )


def _drawn(run: Swimlanes) -> _Canvas:
    lanes = [*run.names]
    if any(step.step.request == APP for step in run.steps):
        lanes.append(APP)
    shows_state = any(step.state for step in run.steps)
    state_x = GUTTER_WIDTH + LANE_WIDTH * len(lanes) + 10
    canvas = _Canvas(state_x + (STATE_WIDTH if shows_state else 0))
    _draw_heads(canvas, run, lanes, state_x if shows_state else None)
    previous: tuple[int, int] | None = None
    for step in run.steps:
        lane = lanes.index(step.step.request) if step.step.request in lanes else None
        top = canvas.y
        if lane is None:
            _draw_clock(canvas, step, state_x)
        else:
            if previous is not None and previous[0] != lane:
                _draw_switch(canvas, previous, (lane, top))
            _draw_step(canvas, step, lane)
            previous = (lane, canvas.y)
        if shows_state:
            _draw_state(canvas, step, state_x, top)
    _draw_end(canvas, run)
    return canvas


def _draw_heads(canvas: _Canvas, run: Swimlanes, lanes: list[str], state_x: int | None) -> None:
    canvas.text(8, 20, f"schedule {run.schedule}", "strong", whole=run.schedule)
    for index, name in enumerate(lanes):
        x = GUTTER_WIDTH + index * LANE_WIDTH
        title = run.titles.get(name, "") if name != APP else "tasks of the application"
        canvas.text(
            x + 8, 42, name if name == APP else f"request {name}", f"strong lane{index % len(LANE_COLOURS)}t"
        )
        canvas.text(x + 8, 57, _short(title, LANE_CHARACTERS), "code dim", whole=title)
    if state_x is not None:
        canvas.text(state_x + 6, 42, "observed state", "strong")


def _draw_step(canvas: _Canvas, step: RecordedStep, lane: int) -> None:
    x = GUTTER_WIDTH + lane * LANE_WIDTH
    rows: list[tuple[str, str]] = []
    if step.step.is_child:
        rows.append((f"task {step.step}", "dim"))
    lines = _statement_rows(step) or step.shown_lines()
    if not lines and not step.ended:
        rows.append(("(framework code)", "dim"))
    rows.extend(
        (line, "code bad" if step.step.is_cancellation and index == 0 else "code")
        for index, line in enumerate(lines)
    )
    if step.ended:
        rows.append((f"=> {step.ended}", "code strong"))
    height = len(rows) * LINE_HEIGHT + 2 * PADDING
    colour = lane % len(LANE_COLOURS)
    canvas.add(
        f'<rect x="{x + 3}" y="{canvas.y}" width="{LANE_WIDTH - 8}" height="{height - 3}" rx="5" '
        f'class="lane{colour}"/>'
    )
    canvas.text(6, canvas.y + PADDING + 10, str(step.number), "dim")
    for index, (row, style) in enumerate(rows):
        canvas.text(
            x + 10,
            canvas.y + PADDING + 10 + index * LINE_HEIGHT,
            _short(row, LANE_CHARACTERS),
            style,
            whole=row,
        )
    canvas.y += max(height, _state_height(step))


def _statement_rows(step: RecordedStep) -> list[str]:
    """Return a statement or command at a gate in rows that fit into the lane; none for source lines.

    A source line that is cut can be looked up in its file, a generated statement cannot.
    """
    if any(module for module, _, _ in step.lines):
        return []
    rows = [
        row
        for line in step.shown_lines()
        for row in textwrap.wrap(line, LANE_CHARACTERS, subsequent_indent="  ")
    ]
    return rows if len(rows) <= STATEMENT_ROWS else [*rows[: STATEMENT_ROWS - 1], "…"]


def _state_rows(step: RecordedStep) -> list[tuple[str, str]]:
    """Return what a step did to the state; a write shows also where it wrote the value that was there."""
    rows = []
    for kind, name, value in step.accesses:
        same = kind == "writes" and name not in step.changed
        rows.append(
            (
                f"{kind} {name} = {value}{' (same)' if same else ''}",
                "code strong" if kind == "writes" else "code",
            )
        )
    seen = {name for kind, name, _ in step.accesses if kind == "writes"}
    rows.extend(
        (f"{name} is now {step.state[name]}", "code strong") for name in step.changed if name not in seen
    )
    return rows


def _state_height(step: RecordedStep) -> int:
    return len(_state_rows(step)) * LINE_HEIGHT + PADDING if step.state else 0


def _draw_state(canvas: _Canvas, step: RecordedStep, x: int, top: int) -> None:
    canvas.add(
        f'<line x1="{x}" x2="{canvas.width - 6}" y1="{canvas.y - 2}" y2="{canvas.y - 2}" class="rule"/>'
    )
    for index, (row, style) in enumerate(_state_rows(step)):
        canvas.text(
            x + 6, top + PADDING + 10 + index * LINE_HEIGHT, _short(row, STATE_CHARACTERS), style, whole=row
        )


def _draw_clock(canvas: _Canvas, step: RecordedStep, right: int) -> None:
    y = canvas.y + 12
    canvas.add(f'<line x1="{GUTTER_WIDTH}" x2="{right - 10}" y1="{y}" y2="{y}" class="switch"/>')
    canvas.text(6, y + 4, str(step.number), "dim")
    words = step.shown_lines()[0] if step.step.is_clock else step.step.text
    canvas.add(
        f'<rect x="{GUTTER_WIDTH + 8}" y="{y - 9}" width="{len(words) * 7 + 12}" height="18" class="paper"/>'
    )
    canvas.text(GUTTER_WIDTH + 14, y + 4, words, "dim")
    canvas.y += 26


def _draw_switch(canvas: _Canvas, start: tuple[int, int], end: tuple[int, int]) -> None:
    x1, x2 = (GUTTER_WIDTH + lane * LANE_WIDTH + LANE_WIDTH // 2 for lane in (start[0], end[0]))
    y1, y2 = start[1] - 3, end[1]
    canvas.y += 10
    y2 += 10
    canvas.add(f'<path d="M{x1} {y1}C{x1} {y2 - 2} {x2} {y1 + 2} {x2} {y2}" class="switch"/>')


def _draw_end(canvas: _Canvas, run: Swimlanes) -> None:
    if run.failure is None:
        canvas.y += 8
        return
    lines = textwrap.wrap(str(run.failure), max(40, (canvas.width - 40) // 8))
    for blocked in run.blocked:
        lines.extend(textwrap.wrap(blocked, max(40, (canvas.width - 40) // 8)))
    top = canvas.y + 8
    height = len(lines) * 17 + 12
    canvas.add(f'<rect x="6" y="{top}" width="{canvas.width - 14}" height="{height}" rx="5" class="end"/>')
    for index, line in enumerate(lines):
        canvas.text(16, top + 20 + index * 17, line, "bad")
    canvas.y = top + height + 10


def _sentence(run: Swimlanes) -> str:
    """Return what the picture shows: its text alternative."""
    ending = str(run.failure) if run.failure else "no rule is broken"
    return f"Interleaving of {len(run.names)} requests in {len(run.steps)} steps; {ending}"


def _document(canvas: _Canvas, run: Swimlanes) -> str:
    label = _sentence(run)
    lanes = "".join(
        f".dbr .lane{index}{{fill:var(--l{index});fill-opacity:.1;stroke:var(--l{index})}}"
        f".dbr .lane{index}t{{fill:var(--l{index})}}"
        for index in range(len(LANE_COLOURS))
    )
    light = "".join(f"--l{index}:{pair[0]};" for index, pair in enumerate(LANE_COLOURS))
    dark = "".join(f"--l{index}:{pair[1]};" for index, pair in enumerate(LANE_COLOURS))
    style = _STYLE % {"light": light, "dark": dark, "lanes": lanes}
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dbr" role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {canvas.width} {canvas.y}" width="{canvas.width}" height="{canvas.y}" '
        f'style="max-width:100%;height:auto">'
        f"<desc>{html.escape(run.text)}</desc><style>{style}</style>"
        f'<rect width="100%" height="100%" class="paper"/>' + "".join(canvas.parts) + "</svg>"
    )


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
