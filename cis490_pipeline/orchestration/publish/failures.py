"""Report failed runs in the sensor's log, and by HTTP if an address is set."""

import json
import urllib.request

import dagster as dg

from cis490_pipeline.config import Settings

TIMEOUT_S = 10.0


@dg.run_failure_sensor(
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Logs each failed run with its cause; posts it as JSON to CIS490_FAILURE_URL.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Log a failed run, and post it to ``failure_url``."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition")
    causes = [
        f"{event.step_key}: {error.message.strip()}"
        for event in context.get_step_failure_events()
        if event.event_specific_data is not None
        and (failure := event.step_failure_data.error) is not None
        and (error := failure.cause or failure)
    ]
    cause = "; ".join(causes) or context.failure_event.message or "no reason was recorded"
    where = f"{run.job_name}, {partition}" if partition else run.job_name
    text = f"run {run.run_id} ({where}) failed: {cause}"
    context.log.error(text)
    alert(text, run_id=run.run_id, job=run.job_name, partition=partition, cause=cause)


def alert(text: str, **about: str | None) -> None:
    """Post a text to ``failure_url``, if one is set, with other keys for programs.

    Raises
    ------
    OSError
        If the address does not take it. A sensor lets this fail its tick, which the UI shows.
    """
    url = Settings.load().failure_url
    if url is None:
        return
    # Slack, Mattermost and ntfy show the text.
    content = {"text": text, **about}
    request = urllib.request.Request(  # noqa: S310 - settings let in http:// and https:// alone
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
