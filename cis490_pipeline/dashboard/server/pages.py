"""Handlers of the page, its static files and the login."""

from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from cis490_pipeline.dashboard.access.door import Door
from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.access.rules import COOKIE, SESSION_S, Access
from cis490_pipeline.dashboard.server.answers import refusal
from cis490_pipeline.dashboard.server.body import read_body
from cis490_pipeline.dashboard.server.files import PageFile

MAX_FORM_BYTES: Final = 4_096
FORM_TYPE: Final = "application/x-www-form-urlencoded"


class Pages:
    """Handlers of browser requests."""

    def __init__(
        self, access: Access, door: Door, limits: Limits, files: dict[str, PageFile]
    ) -> None:
        self._access = access
        self._door = door
        self._limits = limits
        self._files = files

    async def page(self, request: web.Request) -> web.Response:
        """``GET /``: the dashboard, or the login form."""
        refused = self._door.refuses(request, sessions=True)
        if refused is None:
            return self._answer(request, "index.html")
        if refused.status != 401:
            return refused
        form = self._answer(request, "login.html", status=401)
        # An invalid cookie would count as an attempt on every request.
        form.del_cookie(COOKIE, path="/")
        return form

    async def file(self, request: web.Request) -> web.Response:
        """``GET /static/…``: a static file; none needs a login."""
        return self._answer(request, request.match_info["name"])

    async def log_in(self, request: web.Request) -> web.Response:
        """``POST /login``: exchange the token for a session cookie."""
        if (refused := self._door.waits(request)) is not None:
            return refused
        body = await read_body(request, self._limits, FORM_TYPE, MAX_FORM_BYTES)
        if isinstance(body, web.Response):
            return body
        given = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8).get("token", [""])[0]
        # Checked again: other attempts may have been counted while the body arrived.
        if (refused := self._door.waits(request)) is not None:
            return refused
        if not self._door.opens(request, given.strip()):
            return self._answer(request, "login-failed.html", status=401)
        response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
        response.set_cookie(
            COOKIE,
            self._door.new_session(),
            max_age=SESSION_S,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._access.tls,
        )
        return response

    def _answer(self, request: web.Request, name: str, status: int = 200) -> web.Response:
        file = self._files.get(name)
        if file is None:
            return refusal(404, "no such file")
        headers = {"ETag": f'"{file.etag}"', "Cache-Control": "no-cache", "Vary": "Cookie"}
        if status == 200 and request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(
            status=status,
            body=file.body,
            content_type=file.content_type,
            charset="utf-8",
            headers=headers,
        )
