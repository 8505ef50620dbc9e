"""Every producer starts by the older system's flags, in each form that names a split's files."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cis490_pipeline.cli.operate.produce import produce
from cis490_pipeline.dashboard.producers.metrics import metrics
from cis490_pipeline.dashboard.producers.options import ProducerCommand, split_options
from cis490_pipeline.dashboard.producers.perf import perf
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.profiles import profiles
from cis490_pipeline.dashboard.producers.replay import replay
from cis490_pipeline.errors import ConfigError, SplitError
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.dashboard.producers.test_replay import NAME
from cis490_pipeline_tests.events.endpoint import serving
from cis490_pipeline_tests.experiment.runs import SAMPLE, THINKPAD

PRODUCERS = {
    "metrics": (metrics, [], {"model_metric": 4, "model_failure": 8}),
    "perf": (perf, ["--windows", "10"], {"model_perf": 4, "model_failure": 8}),
    "profiles": (profiles, ["--channel", "netflow.pkts_out"], {"attack_profile": 6}),
    "replay": (replay, ["--store", str(SAMPLE), "--episode", NAME], {"prediction": 44}),
}
FORMS = {
    "--validation": (
        "processed/validation_v1.parquet",
        "processed/host/validation_index.parquet",
        "processed",
        "processed/host",
    ),
    "--artifacts": ("artifacts/host", "artifacts"),
    "--summary": (
        "processed/host/features_window_v1",
        "processed/host/features_window_v1/feature_schema_v1.json",
        "processed/host",
        "processed",
    ),
    "--tensors": (
        "processed/host/tensor_window_v1",
        "processed/host/tensor_window_v1/index.parquet",
        "processed/host",
    ),
}
SETS = {
    "older": [forms[0] for forms in FORMS.values()],
    "today": [forms[-1] for forms in FORMS.values()],
    "files": [forms[1] for forms in FORMS.values()],
}


def flags(data, forms):
    named = zip(FORMS, forms, strict=True)
    return [word for flag, form in named for word in (flag, str(Path(data) / form))]


def counted(events):
    kinds = [event["type"] for event in events]
    return {kind: kinds.count(kind) for kind in kinds}


@click.command(cls=ProducerCommand)
@split_options(must_exist=True)
@click.option("--other")
def where(places: Places, other: str | None) -> Places:
    """Give the places that flags name."""
    return places


def asked(*words):
    return CliRunner().invoke(where, [str(word) for word in words], standalone_mode=False)


@pytest.fixture
def data(finished):
    return finished.paths.root


@pytest.mark.parametrize("forms", list(itertools.product(*FORMS.values())))
@pytest.mark.parametrize("relative", [False, True])
def test_every_combination_of_forms_names_the_same_files(forms, relative, places, data):
    root = os.path.relpath(data) if relative else data

    done = asked(*flags(root, forms))

    assert done.exception is None
    found = done.return_value
    for name in ("validation", "artifacts", "summary", "tensors", "reports"):
        assert getattr(found, name).samefile(getattr(places, name))


def test_a_parquet_of_the_summary_dataset_names_it(places, data):
    shard = next((data / "processed/host/features_window_v1").glob("*.parquet"))

    assert asked("--summary", shard).return_value.summary == places.summary


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", PRODUCERS)
def test_each_producer_publishes_once_whichever_form_its_flags_have(name, kind, data):
    command, own, wanted = PRODUCERS[name]
    speed = ["--speed", "10000"] if name == "replay" else []
    with serving() as server:
        words = [*flags(os.path.relpath(data) if kind == "older" else data, SETS[kind]), *own]
        words += ["--split-recipe", "host", "--train-hosts", THINKPAD, *speed]
        words += ["--publish-url", server.url, "--interval", "0"]

        done = CliRunner().invoke(command, words, standalone_mode=False)

        assert done.exception is None, done.stderr
        assert done.return_value == (1 if name == "metrics" else 0)
        kinds = counted(server.events)
    assert {kind: kinds.get(kind) for kind in wanted} == wanted


def test_one_metric_a_model_with_the_leaderboards_number(data):
    board = read_json(data / "reports" / "host" / "leaderboard.json")
    rows = {r["model"]: r["macro_f1"] for r in board["rows"] if r["kind"] == "model"}
    with serving() as server:
        CliRunner().invoke(
            produce,
            ["metrics", *flags(data, SETS["older"]), "--publish-url", server.url, "--interval=0"],
            standalone_mode=False,
        )
        sent = [e for e in server.events if e["type"] == "model_metric"]

    assert {event["model"]: event["accuracy"] for event in sent} == rows
    assert len(sent) == len(rows)


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_dry_run_prints_the_same_and_publishes_nothing(name, data):
    command, own, wanted = PRODUCERS[name]
    with serving() as server:
        words = [*flags(data, SETS["older"]), *own, "--publish-url", server.url, "--dry-run"]

        done = CliRunner().invoke(command, words, standalone_mode=False)

        assert server.received == []
    kinds = counted([json.loads(line) for line in done.stdout.splitlines()])
    assert {kind: kinds.get(kind) for kind in wanted} == wanted


@pytest.mark.long
def test_the_module_publishes_again_on_each_tick_from_another_folder(data, tmp_path):
    with serving() as server:
        producer = subprocess.Popen(
            [
                *(sys.executable, "-m", "cis490_pipeline.dashboard.producers.metrics"),
                *flags(data, SETS["older"]),
                *("--train-hosts", THINKPAD, "--split-recipe", "host"),
                *("--publish-url", server.url, "--interval", "0.2"),
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
            stderr=subprocess.PIPE,
            text=True,
        )
        seen = []
        while len(seen) < 12:
            assert producer.poll() is None, producer.stderr.read()
            seen = [e for e in list(server.events) if e["type"] == "model_metric"]
        producer.send_signal(signal.SIGINT)
        producer.communicate(timeout=60)

    ids = {event["event_id"] for event in seen}
    assert len(ids) == 4
    order = [event["revision"] for event in seen]
    assert sorted(set(order)) == order
    assert len({event["publisher"] for event in seen}) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--train-hosts", "pi-b", "pi-a"],
        ["--train-hosts", "pi-b,pi-a"],
        ["--train-hosts", "pi-b, pi-a"],
        ["--train-hosts", "pi-b,", "pi-a"],
        ["--train-hosts=pi-b", "pi-a"],
        ["--train-hosts", "pi-b", "--train-hosts", "pi-a"],
        ["--train-hosts", "pi-b", "pi-a", "--other", "x"],
        ["--other", "x", "--train-hosts", "pi-b", "pi-a", "--split", "host"],
    ],
)
@pytest.mark.parametrize("command", [where, *(made for made, _, _ in PRODUCERS.values())])
def test_hosts_that_are_not_the_splits_are_refused_naming_both(command, words, data):
    if command is not where and "--other" in words:
        words = [word for word in words if word not in ("--other", "x")]

    done = CliRunner().invoke(command, [*flags(data, SETS["older"]), *words])

    assert isinstance(done.exception, SplitError)
    assert "the split trains on elliott-thinkpad, wanted pi-a, pi-b" in str(done.exception)


@pytest.mark.parametrize(
    "words", [["garage-pi", THINKPAD], [f"{THINKPAD},garage-pi"], ["garage-pi", f" {THINKPAD} "]]
)
def test_several_hosts_that_are_the_splits_are_taken(words, places, monkeypatch):
    held = {"train_hosts": ["elliott-thinkpad", "garage-pi"]}
    split = places.split()
    monkeypatch.setattr(
        Places, "split", lambda _: type(split)(**(vars(split) | {"parameters": held}))
    )

    done = asked("--validation", places.validation, "--train-hosts", *words)

    assert done.exception is None
    assert done.return_value.validation == places.validation


def test_a_flag_of_hosts_without_a_host_is_an_error_of_usage(data):
    done = asked(*flags(data, SETS["older"]), "--train-hosts")

    assert isinstance(done.exception, click.UsageError)


@pytest.fixture(scope="module")
def two_splits(finished, tmp_path_factory):
    """A data folder with files of the split by time beside those of the split by host."""
    data = tmp_path_factory.mktemp("two splits") / "data"
    for folder in ("processed", "artifacts"):
        shutil.copytree(finished.paths.root / folder / "host", data / folder / "host")
        (data / folder / "time").symlink_to(data / folder / "host")
    (data / "processed/time").unlink()
    shutil.copytree(data / "processed/host", data / "processed/time")
    split = data / "processed/time/split_v1.json"
    write_json(split, read_json(split) | {"recipe": "time"})
    return data


@pytest.mark.parametrize(
    ("flag", "form"),
    [
        ("--validation", "processed/time/validation_index.parquet"),
        ("--artifacts", "artifacts/time"),
        ("--summary", "processed/time/features_window_v1"),
        ("--tensors", "processed/time/tensor_window_v1/index.parquet"),
    ],
)
@pytest.mark.parametrize("command", [made for made, _, _ in PRODUCERS.values()])
def test_files_of_another_split_are_refused(command, flag, form, two_splits):
    path = two_splits / form

    done = CliRunner().invoke(command, [flag, str(path), "--split-recipe", "host"])

    assert isinstance(done.exception, ConfigError)
    assert f"{flag} {path}: of recipe time, not host" in str(done.exception)


def test_all_wrong_flags_are_named_in_one_error(two_splits):
    wrong = (
        "--artifacts",
        two_splits / "artifacts/time",
        "--summary",
        two_splits / "processed/time",
    )

    done = asked(*wrong)

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).count("of recipe time, not host") == 2


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--artifacts", "artifacts/host/gbt_oracle"], "one model's checkpoint"),
        (["--summary", "processed/host/tensor_window_v1"], "a dataset of kind tensor, wanted"),
        (["--tensors", "processed/host/features_window_v1"], "a dataset of kind summary, wanted"),
        (
            ["--validation", "processed/host/tensor_window_v1/index.parquet"],
            "neither an acceptance",
        ),
        (["--validation", "processed/host/split_v1.json"], "not readable as parquet"),
        (["--summary", "nowhere"], "no such file or folder: --summary"),
    ],
)
def test_what_is_something_else_is_refused(words, wanted, data):
    done = asked(words[0], data / words[1])

    assert isinstance(done.exception, ConfigError)
    assert wanted in str(done.exception)


def test_the_split_is_found_by_its_datasets_if_the_verdicts_lie_elsewhere(data, tmp_path):
    away = tmp_path / "verdicts.parquet"
    shutil.copy(data / "processed/validation_v1.parquet", away)

    found = asked("--validation", away, "--tensors", data / "processed/host/tensor_window_v1")

    assert found.return_value.validation == data / "processed/host/validation_index.parquet"


def test_the_folder_one_stands_in_names_the_split_too(data, monkeypatch):
    monkeypatch.chdir(data / "artifacts/host")

    assert asked("--artifacts", ".").return_value.artifacts == data / "artifacts/host"


def test_metrics_publish_that_the_files_named_are_missing(tmp_path):
    words = ["--validation", tmp_path / "validation_v1.parquet", "--artifacts", tmp_path / "host"]

    done = CliRunner().invoke(
        metrics, [*map(str, words), "--dry-run"], standalone_mode=False
    )  # fmt: skip

    failed = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.return_value == 1
    assert [event["type"] for event in failed] == ["model_failure"] * 12


def test_a_replay_finds_the_store_beside_the_checkpoints(copied, monkeypatch, tmp_path):
    data = copied.artifacts.parents[1]
    (data / "sample").symlink_to(SAMPLE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    done = CliRunner().invoke(
        replay,
        [*flags(data, SETS["older"]), "--episode", NAME, "--dry-run"],
        standalone_mode=False,
    )

    assert done.exception is None
    assert json.loads(done.stdout.splitlines()[0])["episode_id"] in NAME
