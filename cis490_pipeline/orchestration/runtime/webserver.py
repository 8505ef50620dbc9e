"""A running Dagster webserver, asked over GraphQL as its own pages ask it."""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cis490_pipeline.errors import ConfigError, PipelineError

LOCATION: Final = "cis490_pipeline"
"""Name of the code location in ``workspace.yaml``."""
TIMEOUT_S: Final = 60.0
POLL_S: Final = 2.0
ENDED: Final = frozenset(
    {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
)

_RELOAD = """mutation($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename
    ... on WorkspaceLocationEntry {
      locationOrLoadError { __typename ... on PythonError { message } } }
    ... on PythonError { message }
    ... on ReloadNotSupported { message }
    ... on RepositoryLocationNotFound { message }
    ... on UnauthorizedError { message }
  } }"""
_BACKFILL = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionSetNotFoundError { message }
    ... on PartitionKeysNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  } }"""
_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename
  ... on PartitionBackfill { status }
  ... on PythonError { message }
  ... on BackfillNotFoundError { message }
} }"""


class Webserver:
    """One webserver's address."""

    def __init__(self, url: str) -> None:
        """Name a webserver.

        Parameters
        ----------
        url : of its start page, such as ``http://127.0.0.1:3000``.

        Raises
        ------
        ConfigError
            If that is no http:// or https:// address.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--url must be an http:// or https:// address, got {url!r}")
        self.url = url.rstrip("/")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data of one GraphQL answer.

        Raises
        ------
        PipelineError
            If nobody answers there, or not as a Dagster webserver does.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked on construction
            f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                answer = json.load(response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PipelineError(
                f"{self.url} does not answer as a Dagster webserver ({error}); start one with "
                "`dagster dev`, or leave --url out to work in this process"
            ) from error
        if not isinstance(answer, dict) or answer.get("errors") or "data" not in answer:
            raise PipelineError(f"{self.url} refused: {str(answer)[:400]}")
        data: dict[str, Any] = answer["data"]
        return data

    def reload(self) -> None:
        """Make it load the code anew, so that it runs what is on disk now.

        Raises
        ------
        PipelineError
            If the code cannot be loaded there; the message is Dagster's.
        """
        answer = self.ask(_RELOAD, name=LOCATION)["reloadRepositoryLocation"]
        loaded = answer.get("locationOrLoadError") or {}
        if answer["__typename"] != "WorkspaceLocationEntry" or loaded.get("message"):
            said = loaded.get("message") or answer.get("message") or answer["__typename"]
            raise PipelineError(f"{self.url} cannot load {LOCATION}: {said.strip()}")

    def backfill(self, assets: Mapping[str, Sequence[str]]) -> str:
        """Launch one backfill.

        Parameters
        ----------
        assets : partitions of each asset key (with ``/``); none for an unpartitioned one.

        Returns
        -------
        The backfill's id.

        Raises
        ------
        PipelineError
            If it was not launched, with Dagster's reason.
        """
        selected = [
            {
                "assetKey": {"path": key.split("/")},
                "partitions": {"ranges": [{"start": name, "end": name} for name in partitions]}
                if partitions
                else None,
            }
            for key, partitions in assets.items()
        ]
        params = {
            "partitionsByAssets": selected,
            "tags": [{"key": "cis490/launched_by", "value": "cis490 backfill"}],
            "title": "what cis490 stale lists",
        }
        answer = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            said = answer.get("message") or answer.get("errors") or answer["__typename"]
            raise PipelineError(f"{self.url} launched no backfill: {said}")
        return str(answer["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        """Return how a backfill stands: ``REQUESTED``, ``COMPLETED_SUCCESS``, ….

        Raises
        ------
        PipelineError
            If the webserver knows no such backfill.
        """
        answer = self.ask(_STATUS, id=backfill_id)["partitionBackfillOrError"]
        if "status" not in answer:
            raise PipelineError(f"{self.url}: {answer.get('message', answer['__typename'])}")
        return str(answer["status"])

    def wait_for_backfill(self, backfill_id: str) -> str:
        """Return how a backfill ended, once it has."""
        while (status := self.backfill_status(backfill_id)) not in ENDED:
            time.sleep(POLL_S)
        return status
