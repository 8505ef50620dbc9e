"""Deliver events to a dashboard over HTTP, or say why not."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import msgspec

from cis490_pipeline.errors import EventError, EventRefusedError
from cis490_pipeline.events.contract import Event, encode
from cis490_pipeline.events.older import older_form
from cis490_pipeline.storage.json_text import decode_json

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
    """One dashboard's ``/publish`` address and the token it may want."""

    url: str
    token: str | None = None

    def publish(self, events: list[Event]) -> int:
        """Deliver events in order, in one request.

        Returns
        -------
        How many the dashboard says it passed on to browsers. HTTP 200 is the acknowledgement.

        Raises
        ------
        EventRefusedError
            If the dashboard refuses.
        EventError
            If it cannot be reached, or does not answer as one.
        """
        return self._post(encode(events))

    def publish_older(self, events: list[Event]) -> int:
        """Deliver events as the older dashboard knows them: one a request, the old keys alone.

        What it has no word for is left out.

        Raises
        ------
        EventError
            As ``publish``, at the first event that is not taken.
        """
        forms = (older_form(event) for event in events)
        return sum(self._post(msgspec.json.encode(form)) for form in forms if form is not None)

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
            raise EventRefusedError(
                f"{self.url} refused with HTTP {error.code}: {reason}", error.code
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
