"""HTTP client for a dashboard's ``POST /publish``, in requests of bounded size."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cis490_pipeline.config import Settings
from cis490_pipeline.errors import DashboardDownError, EventError, EventRefusedError
from cis490_pipeline.events.contract import Event, encode
from cis490_pipeline.events.older import older_form
from cis490_pipeline.storage.json_text import decode_json

MAX_EVENTS: Final = 2000
"""Events per request, at most."""
_LISTS_UNREAD: Final = frozenset({400, 404, 405, 422, 500, 501})
"""HTTP statuses that a server unable to read a list may answer, among others."""
PASSING: Final = frozenset({408, 425, 429, 502, 503, 504, 507})
"""HTTP statuses of a dashboard that is restarting, busy or out of room, and may recover."""
TIMEOUT_S = 10.0
HEALTH_TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 64 * 1024


class _Answer(msgspec.Struct):
    delivered: int


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: following one would give the token to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request, so that the redirect is raised as an HTTP error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True)
class Publisher:
    """``/publish`` address of one dashboard, its token if it wants one, and the form it accepts."""

    url: str
    token: str | None = None
    older: bool = False
    """Whether it is the older dashboard: one event per request, required keys only."""

    def publish(self, events: list[Event]) -> int:
        """Deliver events in order; those without an older form are skipped if ``older``.

        Returns the number of deliveries to browsers that the dashboard reports. HTTP 200
        acknowledges all.

        Raises
        ------
        DashboardDownError
            If it cannot be reached, or takes nothing now; the requests before were delivered.
        EventRefusedError
            If it refuses a request; those before it were delivered.
        EventError
            If it does not answer as a dashboard.
        """
        if self.older:
            forms = (older_form(event) for event in events)
            bodies = (msgspec.json.encode(form) for form in forms if form is not None)
        else:
            parts = (events[i : i + MAX_EVENTS] for i in range(0, len(events), MAX_EVENTS))
            bodies = (encode(part) for part in parts)
        return sum(map(self._post, bodies))

    def require_up(self) -> None:
        """Ask ``/healthz``, beside ``/publish``, whether the dashboard answers.

        Any answer counts unless its status is one of `PASSING`: the older dashboard has no such
        page. Asked without the token, since a wrong one would count as a guess.

        Raises
        ------
        DashboardDownError
            If it cannot be reached within `HEALTH_TIMEOUT_S`, or takes nothing now.
        """
        health = urllib.parse.urljoin(self._checked_url(), "healthz")
        try:
            with _OPENER.open(health, timeout=HEALTH_TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in PASSING:
                    return
            raise DashboardDownError(f"{health} answers HTTP {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _checked_url(self) -> str:
        if urllib.parse.urlsplit(self.url).scheme not in {"http", "https"}:
            raise EventError(f"{self.url}: a dashboard's address starts with http:// or https://")
        return self.url

    def _unreachable(self, error: Exception) -> DashboardDownError:
        return DashboardDownError(
            f"{self.url} cannot be reached ({error}); start a dashboard there, "
            "or set CIS490_DASHBOARD_URL to where one runs"
        )

    def _post(self, body: bytes) -> int:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            self._checked_url(), data=body, headers={"Content-Type": "application/json"}
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                answer = response.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            # Unclosed, the response keeps its socket open until garbage collection.
            with error:
                reason = error.read(200).decode("utf-8", "replace")
            unread = not self.older and error.code in _LISTS_UNREAD
            hint = "; the older dashboard needs CIS490_OLDER_DASHBOARD=true" if unread else ""
            text = f"{self.url} refused with HTTP {error.code}: {reason}{hint}"
            if error.code in PASSING:
                raise DashboardDownError(text) from error
            raise EventRefusedError(text, error.code) from error
        except (OSError, http.client.HTTPException) as error:
            # HTTPException: something listens there that does not speak HTTP.
            raise self._unreachable(error) from error
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
