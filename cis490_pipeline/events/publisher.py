"""Deliver events to a dashboard over HTTP, in requests of bounded size."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cis490_pipeline.config import Settings
from cis490_pipeline.errors import EventError, EventRefusedError
from cis490_pipeline.events.contract import Event, encode
from cis490_pipeline.events.older import older_form
from cis490_pipeline.storage.json_text import decode_json

MAX_EVENTS: Final = 2000
"""Of one request."""
_LISTS_UNREAD: Final = frozenset({400, 404, 405, 422, 500, 501})
"""Answers, among others, of a server that cannot read a list of events."""
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024


class _Answer(msgspec.Struct):
    delivered: int


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Following one would hand the token to another server and lose the events on the way."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse: the answer counts as the error it then is."""


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True)
class Publisher:
    """One dashboard's ``/publish`` address, the token it may want, and the form it reads."""

    url: str
    token: str | None = None
    older: bool = False
    """Whether it is the older dashboard: one event a request, required keys alone."""

    def publish(self, events: list[Event]) -> int:
        """Deliver events in order; those the older dashboard has no form for are left out.

        Returns
        -------
        How many the dashboard says it passed on to browsers. HTTP 200 is the acknowledgement.

        Raises
        ------
        EventRefusedError
            If the dashboard refuses a request; those before it were delivered.
        EventError
            If it cannot be reached, or does not answer as one.
        """
        if self.older:
            forms = (older_form(event) for event in events)
            bodies = (msgspec.json.encode(form) for form in forms if form is not None)
        else:
            parts = (events[i : i + MAX_EVENTS] for i in range(0, len(events), MAX_EVENTS))
            bodies = (encode(part) for part in parts)
        return sum(map(self._post, bodies))

    def _post(self, body: bytes) -> int:
        address = urllib.parse.urlsplit(self.url)
        if address.scheme not in {"http", "https"}:
            raise EventError(f"{self.url}: a dashboard's address starts with http:// or https://")
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
            self.url, data=body, headers={"Content-Type": "application/json"}
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                answer = response.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            # The error is the response: left open, its socket stays until the collector comes.
            with error:
                reason = error.read(200).decode("utf-8", "replace")
            unread = not self.older and error.code in _LISTS_UNREAD
            hint = "; the older dashboard needs CIS490_OLDER_DASHBOARD=true" if unread else ""
            raise EventRefusedError(
                f"{self.url} refused with HTTP {error.code}: {reason}{hint}", error.code
            ) from error
        except (OSError, http.client.HTTPException) as error:
            # The latter: something listens there, but does not speak HTTP.
            raise EventError(
                f"{self.url} cannot be reached ({error}); start a dashboard there, "
                "or set CIS490_DASHBOARD_URL to where one runs"
            ) from error
        try:
            return decode_json(answer, _Answer).delivered
        except msgspec.DecodeError as error:
            raise EventError(
                f'{self.url} answered {answer[:80]!r}, not {{"delivered": N}}: is it a dashboard?'
            ) from error


def publishers(settings: Settings) -> list[Publisher]:
    """One for each dashboard that the settings name."""
    token, older = settings.dashboard_token, settings.older_dashboard
    return [Publisher(url, token, older) for url in settings.dashboards]
