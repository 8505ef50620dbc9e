import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from cis490_pipeline.orchestration.publish.failures import failed_runs


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.append(
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook(monkeypatch, tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.received, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIS490_FAILURE_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@dg.op
def read_the_store():
    raise OSError("the disk is gone")


@dg.job
def corpus_like():
    read_the_store()


@pytest.fixture
def context(instance):
    result = corpus_like.execute_in_process(
        instance=instance, raise_on_error=False, tags={"dagster/partition": "host"}
    )
    (failure,) = [event for event in result.all_events if event.is_run_failure]
    return dg.build_run_status_sensor_context(
        sensor_name="failed_runs",
        dagster_event=failure,
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()


def test_a_failed_run_is_posted_with_its_cause(context, hook):
    failed_runs(context)

    (said,) = hook.received
    assert said["job"] == "corpus_like"
    assert said["partition"] == "host"
    assert said["run_id"] == context.dagster_run.run_id
    assert said["cause"] == "read_the_store: OSError: the disk is gone"
    assert said["text"].startswith(f"run {said['run_id']} (corpus_like, host) failed: ")


def test_an_address_that_refuses_fails_the_tick(context, hook):
    hook.status = 500

    with pytest.raises(OSError, match="500"):
        failed_runs(context)


def test_without_an_address_it_is_logged_and_nothing_is_posted(context, hook, monkeypatch):
    monkeypatch.delenv("CIS490_FAILURE_URL")
    said = []
    monkeypatch.setattr(type(context.log), "error", lambda _, text: said.append(text))

    failed_runs(context)

    assert hook.received == []
    assert len(said) == 1
    assert "the disk is gone" in said[0]
