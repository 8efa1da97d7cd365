"""The routes of identity."""

from __future__ import annotations

from tests.app.routes import Read, Routes

ROUTES: Routes = {
    "POST /v1/users": None,
    "GET /v1/users/me": Read("/v1/users/me"),
    "POST /v1/tokens": None,
}
