"""Requests to explore: `post("/withdraw", json={"amount": 60})`.

A request is encoded once, by httpx, and then sent as often as there are schedules.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

BASE_URL = "http://testserver"


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    Attributes:
        method: GET, POST, ...
        path: The path, with or without a query string.
        options: `json`, `params`, `headers`, `content`, `data`, `cookies`, `files`, as `httpx.Request` takes
            them.
        leave_after: Parts of the answer after which the client goes away, as a browser leaves a stream of
            events; None to read it to its end.
    """

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    leave_after: int | None = None

    @functools.cached_property
    def encoded(self) -> httpx.Request:
        """The request as httpx would send it, with its body read."""
        # A client (`httpx.Client().build_request`) would load certificates, which takes longer than a search.
        built = httpx.Request(self.method, BASE_URL + self.path, **self.options)
        built.headers.setdefault("accept", "*/*")
        built.read()
        return built

    def __str__(self) -> str:
        return f"{self.method} {self.encoded.url.raw_path.decode('ascii')}"


def request(method: str, path: str, **options: Any) -> Request:
    """Describe one HTTP request.

    Args:
        method: GET, POST, ...
        path: For instance `/accounts/1`.
        **options: `json=`, `params=`, `headers=` and the other options of `httpx.Request`.
    """
    return Request(method.upper(), path, options)


def stream(path: str, *, leave_after: int, **options: Any) -> Request:
    """Describe a client that reads a stream and goes away in the middle of it, as a browser does.

    Args:
        path: For instance `/events`.
        leave_after: Parts of the answer after which it goes.
        **options: As those of `request`.
    """
    return Request("GET", path, options, leave_after)


def get(path: str, **options: Any) -> Request:
    """Describe a GET request; see `request`."""
    return request("GET", path, **options)


def post(path: str, **options: Any) -> Request:
    """Describe a POST request; see `request`."""
    return request("POST", path, **options)


def put(path: str, **options: Any) -> Request:
    """Describe a PUT request; see `request`."""
    return request("PUT", path, **options)


def patch(path: str, **options: Any) -> Request:
    """Describe a PATCH request; see `request`."""
    return request("PATCH", path, **options)


def delete(path: str, **options: Any) -> Request:
    """Describe a DELETE request; see `request`."""
    return request("DELETE", path, **options)
