"""Requests from `.http` files, the format of VS Code's REST Client and of JetBrains' HTTP Client.

    @amount = 60

    # @name login
    POST /login
    Content-Type: application/json

    {"name": "ada"}

    ###
    POST /withdraw?dry_run=false
    Authorization: Bearer {{login.response.body.token}}
    Content-Type: application/json

    {"amount": {{amount}}}

The host of an absolute address is ignored: the application is called in process. Lines that start with `#` or
`//` are comments, between headers and in a body too; `< ./body.json` stands for a file; `###` ends a request.
Several requests in one file are sent one after the other, as one client would.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deskbook.races._subject.http_request import Request, request
from deskbook.races._subject.sequence import Sequence as RequestSequence

_FIRST_LINE = re.compile(
    r"(?:(?P<method>[A-Z]+)\s+)?(?P<target>\S+(?:\s*\{\{.*?\}\}\S*)*)(?:\s+HTTP/[\d.]+)?\s*$"
)
_VARIABLE = re.compile(r"@(?P<name>[\w.-]+)\s*=\s*(?P<value>.*)")
_NAMED = re.compile(r"(?:#|//)\s*@name\s+(?P<name>[\w-]+)")
_REFERENCE = re.compile(r"\{\{\s*(?P<name>[^{}]+?)\s*\}\}")
_ANSWER = re.compile(r"(?P<request>[\w-]+)\.response\.(?P<part>body|headers)\.(?P<path>.+)")


@dataclass
class WrittenRequest:
    """One request of a file, with its variables still in it.

    Attributes:
        where: The file and the line of its first line, for errors.
        name: What later requests call it, or "".
        method: GET, POST, ...
        target: The path or address.
        headers: Its headers.
        body: Its body.
    """

    where: str
    name: str
    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def filled(self, variables: Mapping[str, str], answers: Mapping[str, httpx.Response]) -> Request:
        """Return the request with its variables replaced.

        Raises:
            ValueError: For a variable that has no value, saying where one can be given.
        """
        fill = functools.partial(self._fill, variables, answers)
        target = httpx.URL(fill(self.target)).raw_path.decode("ascii")
        headers = {name: fill(value) for name, value in self.headers.items()}
        body = fill(self.body)
        options: dict[str, Any] = {"headers": headers} if headers else {}
        return request(self.method, target, **options, **({"content": body} if body else {}))

    @property
    def needs_answers(self) -> bool:
        """Whether it holds something of an earlier answer."""
        parts = (self.target, self.body, *self.headers.values())
        return any(_ANSWER.fullmatch(found) for part in parts for found in _REFERENCE.findall(part))

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Refuse a variable without a value before anything is sent.

        Raises:
            ValueError: Saying where a value can be given.
        """
        for part in (self.target, self.body, *self.headers.values()):
            for name in _REFERENCE.findall(part):
                if _ANSWER.fullmatch(name) is None:
                    self._fill(variables, {}, f"{{{{{name}}}}}")

    def _fill(self, variables: Mapping[str, str], answers: Mapping[str, httpx.Response], text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match["name"]
            answer = _ANSWER.fullmatch(name)
            if answer is not None:
                return self._of_answer(answer, answers)
            if name not in variables:
                raise ValueError(
                    f"{self.where}: {{{{{name}}}}} has no value; write `@{name} = ...` at the top of the "
                    f"file, or pass --var {name}=..."
                )
            return self._fill(variables, answers, variables[name])

        return _REFERENCE.sub(value_of, text)

    def _of_answer(self, wanted: re.Match[str], answers: Mapping[str, httpx.Response]) -> str:
        answer = answers.get(wanted["request"])
        if answer is None:
            raise ValueError(
                f"{self.where}: there is no earlier request {wanted['request']!r}; write "
                f"`# @name {wanted['request']}` above its first line"
            )
        if wanted["part"] == "headers":
            return str(answer.headers.get(wanted["path"], ""))
        value: Any = answer.json()
        for key in wanted["path"].removeprefix("$.").split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value if isinstance(value, str) else json.dumps(value)


def read_http_file(path: Path, variables: Mapping[str, str] | None = None) -> Request | RequestSequence:
    """Read an `.http` file: its request, or its requests one after the other.

    Args:
        path: The file.
        variables: Values for `{{name}}`, before those that the file itself gives.

    Raises:
        ValueError: If the file holds no request, or a variable has no value, saying what was expected.
    """
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    known: dict[str, str] = {}
    for line in lines:
        match = _VARIABLE.fullmatch(line.strip())
        if match is not None:
            known[match["name"]] = match["value"].strip()
    known.update(variables or {})
    written = [found for block in _blocks(lines) if (found := _read(path, *block)) is not None]
    if not written:
        raise ValueError(f"{path.name} holds no request: expected a first line like `POST /withdraw`")
    for one in written:
        one.check_variables(known)
    if len(written) == 1:
        return written[0].filled(known, {})
    return RequestSequence(tuple(_step(written, number, known) for number in range(len(written))))


def _step(written: Sequence[WrittenRequest], number: int, known: Mapping[str, str]) -> Any:
    if not written[number].needs_answers:
        return written[number].filled(known, {})

    def after(answers: Sequence[httpx.Response]) -> Request:
        by_name = {earlier.name: answer for earlier, answer in zip(written, answers, strict=False)}
        return written[number].filled(known, by_name)

    return after


def _blocks(lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Return the requests of a file: the number of the line before each, and its lines."""
    blocks: list[tuple[int, list[str]]] = [(0, [])]
    for number, line in enumerate(lines, start=1):
        if line.startswith("###"):
            blocks.append((number, []))
        else:
            blocks[-1][1].append(line)
    return blocks


def _read(path: Path, offset: int, lines: list[str]) -> WrittenRequest | None:
    name, index = "", 0
    while index < len(lines) and (
        not lines[index].strip() or _is_comment(lines[index]) or _VARIABLE.fullmatch(lines[index].strip())
    ):
        named = _NAMED.fullmatch(lines[index].strip())
        name = named["name"] if named is not None else name
        index += 1
    if index == len(lines):
        return None
    where = f"{path.name}, line {offset + index + 1}"
    match = _FIRST_LINE.match(lines[index].strip())
    if match is None:
        raise ValueError(f"{where}: expected a first line like `POST /withdraw`")
    found = WrittenRequest(where, name, match["method"] or "GET", match["target"])
    index += 1
    while index < len(lines) and lines[index].strip():
        line = lines[index].strip()
        if line.startswith(("?", "&")):
            found.target += line  # a query that is written on lines of its own
        elif not _is_comment(line):
            key, colon, value = line.partition(":")
            if not colon:
                raise ValueError(
                    f"{path.name}, line {offset + index + 1}: expected a header like "
                    f"`Accept: application/json`"
                )
            found.headers[key.strip()] = value.strip()
        index += 1
    found.body = _body(path, offset + index + 1, lines[index + 1 :])
    return found


def _body(path: Path, number: int, lines: Sequence[str]) -> str:
    text = "\n".join(line for line in lines if not _is_comment(line)).strip()
    if not text.startswith(("< ", "<@")):
        return text
    file = path.parent / text.removeprefix("<@").removeprefix("<").strip()
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path.name}, line {number}: the body is in {file}, {error.strerror}") from None


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "//"))
