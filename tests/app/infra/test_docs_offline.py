"""The interactive docs need nothing from the internet, and say so in their policy."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from deskbook.desk import RunningApp, running_app


async def test_the_page_names_no_other_host(desk: RunningApp) -> None:
    page = await desk.client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"(?i)(?:https?:)?//[a-z0-9]", page.text) == []


async def test_every_file_the_page_names_is_served_from_here(desk: RunningApp) -> None:
    page = (await desk.client.get("/docs")).text
    files = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(files) == 3
    for file in [*files, "/openapi.json"]:
        reply = await desk.client.get(file)
        assert (reply.status_code, len(reply.content) > 1000) == (200, True), file


async def test_the_policy_allows_the_script_on_the_page_and_no_other(desk: RunningApp) -> None:
    page = await desk.client.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert [f"'sha256-{digest}'" in policy for digest in hashes] == [True]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


async def test_the_badge_of_the_online_validator_is_off(desk: RunningApp) -> None:
    assert '"validatorUrl": null' in (await desk.client.get("/docs")).text


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
async def test_pages_that_would_load_from_a_cdn_are_not_there(desk: RunningApp, path: str) -> None:
    assert (await desk.client.get(path)).status_code == 404


async def test_behind_a_proxy_that_strips_a_prefix_the_page_finds_its_files() -> None:
    async with running_app() as desk:
        desk.app.root_path = "/desk"
        page = (await desk.client.get("/desk/docs")).text
    assert 'src="/desk/docs/assets/swagger-ui-bundle.js"' in page
    assert "url: '/desk/openapi.json'" in page
