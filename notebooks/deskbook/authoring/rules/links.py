"""Links and pictures in the text lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from deskbook.authoring.document import Document
from deskbook.authoring.rules.registry import Problem, rule

_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_HTML_LINK = re.compile(r"(?:src|href)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)


@rule(
    "broken-link",
    reason="A link to a file that is not there stops the reader, offline more than anywhere.",
    fix="Correct the path; it is relative to the folder of the notebook.",
)
def broken_link(document: Document) -> Iterator[Problem]:
    """Report links to missing files and attachments."""
    folder = document.path.resolve().parent
    for cell in document.markdown_cells:
        text = _CODE.sub(" ", cell.source)
        for target in [*_LINK.findall(text), *_HTML_LINK.findall(text)]:
            if target.startswith("attachment:"):
                missing = target.removeprefix("attachment:") not in cell.attachments
            elif re.match(r"[a-z][a-z0-9+.-]*:|//|#", target, re.IGNORECASE):
                missing = False
            else:
                missing = not (folder / unquote(target.split("#")[0].split("?")[0])).exists()
            if missing:
                yield cell, f"the link {target!r} leads nowhere"
