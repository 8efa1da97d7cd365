"""Requests from `.http` files, the format of VS Code's REST Client and of JetBrains' HTTP Client.

    POST /withdraw?dry_run=false
    Content-Type: application/json

    {"amount": 60}

The host of an absolute address is ignored: the application is called in process. Lines that start with `#` or
`//` are comments; `###` ends a request, and only the first one of a file is read.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from deskbook.races._subject.http_request import Request, request

_FIRST_LINE = re.compile(r"(?:(?P<method>[A-Z]+)\s+)?(?P<target>\S+)(?:\s+HTTP/[\d.]+)?\s*$")


def read_http_file(path: Path) -> Request:
    """Read the first request of an `.http` file.

    Args:
        path: The file.

    Raises:
        ValueError: If the file holds no request, saying what was expected.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = _first_request(lines)
    while lines and (not lines[0].strip() or lines[0].lstrip().startswith(("#", "//", "@"))):
        lines.pop(0)
    match = _FIRST_LINE.match(lines[0].strip()) if lines else None
    if match is None:
        raise ValueError(f"{path.name} holds no request: expected a first line like `POST /withdraw`")
    headers: dict[str, str] = {}
    index = 1
    while index < len(lines) and lines[index].strip():
        name, colon, value = lines[index].partition(":")
        if not colon:
            raise ValueError(
                f"{path.name}, line {index + 1}: expected a header like `Accept: application/json`"
            )
        headers[name.strip()] = value.strip()
        index += 1
    body = "\n".join(lines[index + 1 :]).strip()
    url = httpx.URL(match["target"])
    target = url.raw_path.decode("ascii")
    options = {"headers": headers} if headers else {}
    return request(match["method"] or "GET", target, **options, **({"content": body} if body else {}))


def _first_request(lines: list[str]) -> list[str]:
    for index, line in enumerate(lines):
        if line.startswith("###") and any(kept.strip() for kept in lines[:index]):
            return lines[:index]
    return [line for line in lines if not line.startswith("###")]
