"""What patterns there are, what each is for, and what it needs."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import re
import sysconfig
import tomllib
from pathlib import Path

from deskbook.checkout import NotACheckoutError, root

#: Inline script metadata, with the expression of its specification (PEP 723).
_BLOCK = re.compile(r"(?m)^# /// (?P<type>script)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")

#: The problem in the reader's words -> the patterns that answer it. A pattern may answer several.
PROBLEMS: dict[str, tuple[str, ...]] = {
    "one slow call stops every request": ("loop_lag",),
    "many calls at once, some of them fail": ("bounded_fan_out", "task_registry"),
    "the cache is cold and everybody asks": ("single_flight", "stale_while_revalidate"),
    "the same answer is computed again and again": ("ttl_cache", "redis_cache"),
    "two requests change the same thing": (
        "keyed_lock",
        "optimistic_version",
        "serializable_retry",
        "advisory_lock",
    ),
    "two workers take the same job": ("skip_locked_queue", "fencing_lock"),
    "the client retries and the effect happens twice": ("idempotency_key",),
    "the row is saved and the event is lost": ("outbox",),
    "a dependency is down or slow": ("circuit_breaker", "load_shedding"),
    "one caller takes everything": ("rate_limit", "load_shedding"),
    "a client overwrites what another has changed": ("conditional_request", "optimistic_version"),
    "a list is too long for one answer": ("keyset_page", "jsonl_stream"),
    "rows come in by the million": ("bulk_copy",),
    "clients want different formats": ("negotiation",),
    "one slow listener holds up the rest": ("broadcaster",),
    "money loses digits": ("money",),
    "errors look different everywhere": ("problem_details",),
    "objects are costly to make": ("object_pool",),
    "a log line belongs to which request": ("correlation_id",),
    "is the service up, and may it be stopped": ("health", "graceful_drain"),
}


class PatternError(Exception):
    """The catalogue or the copy cannot do what was asked; the text says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Pattern:
    """One file of `reference_app/patterns/`.

    Attributes:
        name: Its name, the field's standard term.
        path: The file.
        summary: The idea in one sentence.
        use_when: When to use it, from its docstring.
        limits: What it does not do, from its docstring.
        requires_python: Python versions that it runs on.
        dependencies: Packages that it needs.
    """

    name: str
    path: Path
    summary: str
    use_when: str
    limits: str
    requires_python: str
    dependencies: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems it answers, in the reader's words."""
        return tuple(problem for problem, names in PROBLEMS.items() if self.name in names)

    @property
    def source(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")

    @property
    def test(self) -> Path:
        """The test that travels with it.

        Raises:
            PatternError: The tests were not installed along.
        """
        name = f"test_{self.name}.py"
        for folder in _test_folders():
            if (folder / name).is_file():
                return folder / name
        raise PatternError(f"The test of {self.name} is not installed here: copy it from a checkout.")


def catalogue() -> list[Pattern]:
    """Return every pattern, by name."""
    return [_read(path) for path in sorted(_folder().glob("*.py")) if path.stem != "__init__"]


def get(name: str) -> Pattern:
    """Return one pattern.

    Raises:
        PatternError: There is none of this name; the message has the nearest ones.
    """
    known = {pattern.name: pattern for pattern in catalogue()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`deskbook pattern list` shows them all."
    raise PatternError(f"There is no pattern {name!r}. {hint}")


def find(words: str) -> list[Pattern]:
    """Return the patterns whose name, problem or description holds every one of the words."""
    wanted = words.lower().split()
    return [pattern for pattern in catalogue() if all(word in _searchable(pattern) for word in wanted)]


def _searchable(pattern: Pattern) -> str:
    name = pattern.name.replace("_", " ")
    return " ".join((pattern.name, name, pattern.summary, pattern.use_when, *pattern.problems)).lower()


def _folder() -> Path:
    """The folder of the patterns, found without importing the app, whose packages may be missing."""
    spec = importlib.util.find_spec("reference_app")
    if spec is None or not spec.submodule_search_locations:
        raise PatternError("The package reference_app is not installed; install fastapi-deskbook again.")
    return Path(next(iter(spec.submodule_search_locations))) / "patterns"


def _test_folders() -> list[Path]:
    """Where the travelling tests may be: in the checkout, or beside an installed package."""
    installed = Path(sysconfig.get_path("data")) / "share" / "fastapi-deskbook" / "pattern-tests"
    try:
        return [root() / "tests" / "patterns", installed]
    except NotACheckoutError:
        return [installed]


def _read(path: Path) -> Pattern:
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    metadata = script_metadata(source)
    return Pattern(
        name=path.stem,
        path=path,
        summary=_one_line(docstring.split("\n\n")[0]),
        use_when=_starting_with("Use it", docstring),
        limits=_starting_with("Limits:", docstring),
        requires_python=str(metadata["requires-python"]),
        dependencies=tuple(metadata["dependencies"]),
    )


def script_metadata(source: str) -> dict[str, str | list[str]]:
    """Return the PEP 723 block of a file.

    Raises:
        PatternError: The file has none.
    """
    block = _BLOCK.search(source)
    if block is None:
        raise PatternError("A pattern file needs a PEP 723 block at its top that names its packages.")
    return tomllib.loads(re.sub(r"(?m)^# ?", "", block["content"]))


def _starting_with(start: str, docstring: str) -> str:
    """Return the paragraph of a docstring that begins with these words."""
    return next((_one_line(it) for it in docstring.split("\n\n") if it.startswith(start)), "")


def _one_line(text: str) -> str:
    return " ".join(text.split())
