"""The interactive docs at /docs, complete without internet and under a strict Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

#: The package is used for its files alone: its `FastAPIOffline` loses the types of FastAPI's arguments,
#: leaves no place for headers, and adds ReDoc, whose script loads a logo from a CDN.
ASSETS = Path(fastapi_offline.__file__).parent / "static"


def install_docs(app: FastAPI, path: str = "/docs") -> None:
    """Serve Swagger UI and its assets from this service.

    Args:
        app: An app made with `docs_url=None, redoc_url=None`.
        path: The address of the page.
    """
    app.mount(f"{path}/assets", StaticFiles(directory=ASSETS), name="docs-assets")

    @app.get(path, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{path}/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{path}/assets/swagger-ui.css",
            swagger_favicon_url=f"{root}{path}/assets/favicon.png",
            # null: the page would send the schema's address to validator.swagger.io for a badge.
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
        )
        page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())
        return page


def _policy(html: str) -> str:
    """Allow this service's files, and of inline scripts the one on the page, by its hash."""
    inline = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = hashlib.sha256(inline.group(1).encode() if inline else b"").digest()
    return (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        f"script-src 'self' 'sha256-{base64.b64encode(digest).decode()}'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
