"""The page `notebooks/90_pattern_index.ipynb`, made from the pattern files and the lessons.

`deskbook course write` writes it; a test fails where the file is not what this module makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deskbook.course.lessons import read_lessons
from deskbook.patterns.catalogue import PROBLEMS, Pattern, catalogue
from deskbook.patterns.decisions import DECISIONS, Decision

NAME = "90_pattern_index"

_OPENING = """\
# Find the pattern

Every pattern of this course by the problem it solves: what it does, when to use it, where it stops working.

**You will**

- find the pattern for a problem in your own words
- choose between patterns that look alike
- copy one with its test into your own service

**You need** nothing but a terminal. This page is for looking things up, so read 10 minutes and come back.

**In a hurry?** `deskbook pattern list` prints this catalogue; `deskbook pattern list cache cold` searches it.

Each pattern is one file that stands alone: the standard library and the packages named in its first lines.
Its test travels with it. Nothing here is a framework: copy the file, read it, and change it."""

_SEARCH = """\
## Search

The words may come from the problem, the name or the description."""

_COPY = """\
## Copy

`deskbook pattern copy money YOUR_SERVICE --with-test` writes two files, and says what to install. A copy
says where it came from and what it was tested with. Nothing is overwritten without `--force`."""

_END = """\
## Recap

- The problem leads to the pattern, and `deskbook pattern list WORDS` finds it.
- The limits say where a pattern stops; the tables say which one comes before another.
- `deskbook pattern copy NAME FOLDER --with-test` brings a file and its proof into your service.

## Further

- [The files](../reference_app/patterns/), their [tests](../tests/patterns/), their [races](../tests/races/)
- [The lessons](README.md), which break a service and repair it with these files"""

_METADATA = {
    "exercises": [],
    "goals": [
        "find the pattern for a problem in your own words",
        "choose between patterns that look alike",
        "copy one with its test into your own service",
    ],
    "minutes": 10,
    "needs": [],
    "part": "9 Reference",
    "patterns": [],
    "topics": ["patterns by problem", "which lock", "which cache", "which retry", "which limit"],
}


def pattern_page() -> dict[str, Any]:
    """Return the page as a notebook that has not been run."""
    patterns = {pattern.name: pattern for pattern in catalogue()}
    shown: set[str] = set()
    cells = [_text(_OPENING), _code("%load_ext deskbook\nfrom deskbook.patterns import catalogue, find, get")]
    cells += [_text(_SEARCH), _code('[pattern.name for pattern in find("cache cold")]')]
    cells += [_text("## Which one?\n\nFour corners are crowded. These tables say what comes before what.")]
    cells += [_text(_table(decision)) for decision in DECISIONS]
    for problem, names in PROBLEMS.items():
        entries = [patterns[name] for name in names if name in patterns]
        if entries:
            cells.append(_text(_section(problem, entries, shown)))
    cells += [_text("## All of them\n\nEvery file has its place above."), _code("len(catalogue())")]
    cells += [
        _text(_COPY),
        _code('copied = get("money")\ncopied.path.name, copied.test.name, copied.dependencies'),
    ]
    cells += [_text(_END)]
    numbered = [cell | {"id": f"index-{number:02}"} for number, cell in enumerate(cells)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"deskbook": _METADATA, "kernelspec": kernel}
    return {"cells": numbered, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write_pattern_page(path: Path) -> None:
    """Write the page, and keep the outputs of code cells that have not changed."""
    page = pattern_page()
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))
        ran = {"".join(cell["source"]): cell for cell in done["cells"] if cell["cell_type"] == "code"}
        for cell in page["cells"]:
            before = ran.get(cell["source"], {})
            cell |= {key: before[key] for key in ("outputs", "execution_count") if key in before}
        page["metadata"] |= {"language_info": done["metadata"].get("language_info", {})}
    for cell in page["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    text = json.dumps(page, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def sources(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the kind and source of each cell, without what running the page has added."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def _section(problem: str, entries: list[Pattern], shown: set[str]) -> str:
    """Describe each pattern where it comes first, and name it where it comes again."""
    again = [it for it in entries if it.name in shown]
    parts = [f"## {problem[0].upper()}{problem[1:]}", *(_entry(it) for it in entries if it.name not in shown)]
    if again:
        names = ", ".join(f"[{it.name}](#{it.name})" for it in again)
        parts.append(f"{'See also' if len(again) < len(entries) else 'See'} {names} on this page.")
    shown.update(it.name for it in entries)
    return "\n\n".join(parts)


def _entry(pattern: Pattern) -> str:
    taught = [lesson for lesson in read_lessons() if pattern.name in lesson.patterns]
    links = ", ".join(f"[{lesson.title}]({lesson.name}.ipynb)" for lesson in taught)
    packages = ", ".join(f"`{it}`" for it in pattern.dependencies) or "the standard library only"
    test = pattern.test.name
    facts = [
        f"[File](../reference_app/patterns/{pattern.name}.py) and [test](../tests/patterns/{test})",
        f"needs {packages}",
        *([f"lesson: {links}"] if taught else []),
    ]
    return "\n\n".join(
        (
            f"### {pattern.name}",
            f"**{pattern.summary}**",
            pattern.use_when,
            f"**Limits:** {pattern.limits.removeprefix('Limits: ')}",
            f"`deskbook pattern copy {pattern.name} YOUR_SERVICE --with-test`",
            f"{'; '.join(facts)}.",
        )
    )


def _table(decision: Decision) -> str:
    rows = [f"| {' | '.join(row)} |" for row in decision.rows]
    head = ["| when | take | because |", "|---|---|---|"]
    return "\n".join([f"### {decision.question}", "", decision.advice, "", *head, *rows])


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": None, "outputs": []}
