"""Keep the start of a notebook command short."""

from __future__ import annotations

import sys


def skip_slow_import() -> None:
    """Let jsonschema do without its IRI check, before nbformat imports it.

    jsonschema imports `rfc3987_syntax` where it is installed, which compiles a grammar on import: 1.6 s on
    a free core, more than executing a small notebook. It serves the format "iri" only, which no notebook
    uses, and jsonschema goes on without it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
