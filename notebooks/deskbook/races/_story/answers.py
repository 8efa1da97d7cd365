"""What the requests answer without any concurrency: what a reader should see before a verdict is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Answers:
    """What was seen before the search.

    Attributes:
        titles: Request -> what it is, such as "POST /withdraw".
        alone: Request -> what it answers when nobody else is there.
        in_order: (order of the requests, request -> answer) for requests that run one after the other.
        steps: Request -> how many steps it takes alone.
        beside: What ran beside the requests and is not under control, as sentences.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    alone: dict[str, str] = field(default_factory=dict)
    in_order: list[tuple[Sequence[str], dict[str, str]]] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return one line for each request alone, each order, and what ran beside."""
        out = []
        for name, answer in self.alone.items():
            steps = self.steps.get(name, 0)
            count = f" ({steps} step{'' if steps == 1 else 's'})" if steps else ""
            out.append(f"{name} alone, {self.titles.get(name) or 'a function'}: {answer}{count}")
        for order, answers in self.in_order:
            if len(order) > 1:
                shown = "; ".join(f"{name}: {answers.get(name, 'no answer')}" for name in order)
                out.append(f"{' then '.join(order)}: {shown}")
        out.extend(f"beside: {line}" for line in self.beside)
        return "\n".join(out)

    def __str__(self) -> str:
        return self.text()
