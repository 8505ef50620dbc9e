"""GraphQL client for a running Dagster webserver, with the queries of its own pages."""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from cis490_pipeline.domain.hosts import http_address
from cis490_pipeline.errors import ConfigError, PipelineError
from cis490_pipeline.orchestration.slots import TRAINING

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

Answer = TypedDict(
    "Answer",
    {
        "__typename": str,
        "message": str,
        "errors": list[dict[str, str]],
        "locationOrLoadError": "Answer | None",
        "backfillId": str,
        "status": str,
    },
    total=False,
)
"""What a query's one field holds: some of these, as the query asks for."""


class Webserver:
    """Client of one webserver.

    Parameters
    ----------
    url : address of its start page, such as ``http://127.0.0.1:3000``.

    Raises
    ------
    ConfigError
        If it is not an http:// or https:// address.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = http_address(url).rstrip("/")
        except ValueError as wrong:
            raise ConfigError(f"--url {wrong}") from wrong

    def ask(self, query: str, **variables: Any) -> dict[str, Answer]:
        """Run a GraphQL query and return its data.

        Raises
        ------
        PipelineError
            If nothing answers there, or the answer is not a Dagster webserver's.
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
        data: dict[str, Answer] = answer["data"]
        return data

    def reload(self) -> None:
        """Reload the code location, so that it runs the code on disk.

        Raises
        ------
        PipelineError
            If the code cannot be loaded, with Dagster's message.
        """
        answer = self.ask(_RELOAD, name=LOCATION)["reloadRepositoryLocation"]
        loaded: Answer = answer.get("locationOrLoadError") or {}
        if answer["__typename"] != "WorkspaceLocationEntry" or loaded.get("message"):
            reason = loaded.get("message") or answer.get("message") or answer["__typename"]
            raise PipelineError(f"{self.url} cannot load {LOCATION}: {reason.strip()}")

    def backfill(self, assets: Mapping[str, Sequence[str]]) -> str:
        """Launch one backfill.

        Parameters
        ----------
        assets : partitions by asset key (with ``/``); empty for an unpartitioned asset.

        Returns
        -------
        The backfill's id.

        Raises
        ------
        PipelineError
            If it was not launched, with Dagster's message.
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
        tags = {"cis490/launched_by": "cis490 backfill", **TRAINING}
        params = {
            "partitionsByAssets": selected,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "title": "what cis490 stale lists",
        }
        answer = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            reason = answer.get("message") or answer.get("errors") or answer["__typename"]
            raise PipelineError(f"{self.url} launched no backfill: {reason}")
        return str(answer["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        """Return the status of a backfill: ``REQUESTED``, ``COMPLETED_SUCCESS``, ….

        Raises
        ------
        PipelineError
            If there is no such backfill.
        """
        answer = self.ask(_STATUS, id=backfill_id)["partitionBackfillOrError"]
        if "status" not in answer:
            raise PipelineError(f"{self.url}: {answer.get('message', answer['__typename'])}")
        return str(answer["status"])

    def wait_for_backfill(self, backfill_id: str) -> str:
        """Wait for a backfill to end, and return its final status."""
        while (status := self.backfill_status(backfill_id)) not in ENDED:
            time.sleep(POLL_S)
        return status
