"""JSON from outside is refused by every reader with an error of its own, never by a traceback."""

import json
import sys

import msgspec
import pytest

from cis490_pipeline.checkpoints.alarm_file import read_alarm
from cis490_pipeline.checkpoints.members import read_manifest as read_checkpoint
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Address
from cis490_pipeline.errors import PipelineError, StoreError
from cis490_pipeline.evaluation.predictions import read_predictions
from cis490_pipeline.events.contract import decode as decode_events
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.record import read_record as read_stage_record
from cis490_pipeline.experiment.upkeep.gc import _named
from cis490_pipeline.features.calibration.record import read_record
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.live.bundle import load_bundle
from cis490_pipeline.splits.persist import load_split
from cis490_pipeline.storage.files import read_json, read_object
from cis490_pipeline.storage.json_text import MAX_DEPTH, decode_json, decode_value
from cis490_pipeline.storage.remote_copy import MARKER, RemoteCopy, fetch_file

NAMES = ("files", "shards", "digest", "kind", "version", "format", "format_version", "schema")
NO_JSON = {
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a key that is not UTF-8": b'{"\xc3": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a pair": rb'{"a": "\ud800"}',
    "without end": b"[" * 1_000_000,
    "objects without end": b'{"a":' * 1_000_000,
    "as deep as the decoder allows": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    "a little too deep": b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
    "NaN": b'{"a": NaN}',
    "a number beyond all": b'{"a": 1e999}',
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "cut": b'{"a": ',
    "nothing": b"",
}
DAMAGED = {
    **NO_JSON,
    "an array": b"[1, 2]",
    "a word": b'"a"',
    "null": b"null",
    "an empty object": b"{}",
    "values of other types": json.dumps({name: [{}] for name in NAMES}).encode(),
}
"""What the readers below refuse, all of them."""


def _file(name, read):
    def reader(folder, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return reader


READERS = {
    "checkpoint": _file("checkpoint.json", lambda path: read_checkpoint(path.parent)),
    "bundle": _file("bundle.json", lambda path: load_bundle(path.parent)),
    "alarm": _file("alarm.json", lambda path: read_alarm(path, path.read_bytes(), None)),
    "calibration record": _file("record.json", read_record),
    "split": _file("split_v1.json", load_split),
    "dataset": _file("manifest.json", lambda path: open_dataset(path.parent, "summary")),
    "grids": _file("manifest.json", lambda path: GridStore(path.parent)),
    "predictions": _file("predictions.json", lambda path: read_predictions(path.parent)),
    "record, to collect": _file(
        "processed/records/host/a.json", lambda path: _named(path.parents[3])
    ),
    "marker of a copy": _file(MARKER, lambda path: RemoteCopy.of(path.parent / "x")),
}


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_what_is_damaged(tmp_path, reader, what):
    with pytest.raises(PipelineError, match=r"."):
        READERS[reader](tmp_path, DAMAGED[what])


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_record_of_a_copy_is_refused_before_a_file_is_fetched(tmp_path, what):
    origin = RemoteCopy.below(Address("file", str(tmp_path / "elsewhere")), tmp_path / "cache")
    record = origin.root / "processed" / "records" / "host" / "a.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(DAMAGED[what])

    with pytest.raises(PipelineError, match=r"a\.json: no record: "):
        fetch_file(origin.root / "processed" / "x.npy", "0" * 64)


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_stage_record_is_as_none(tmp_path, what):
    path = tmp_path / "record.json"
    path.write_bytes(DAMAGED[what])

    assert read_stage_record(path) is None


@pytest.mark.parametrize("what", NO_JSON)
def test_decoding_raises_one_kind_of_error(what):
    with pytest.raises(msgspec.DecodeError, match=r"."):
        decode_value(DAMAGED[what])
    with pytest.raises(msgspec.DecodeError, match=r"."):
        decode_json(DAMAGED[what], Record)


@pytest.mark.parametrize("what", NO_JSON)
def test_a_file_is_named_that_is_no_json(tmp_path, what):
    path = tmp_path / "some.json"
    path.write_bytes(DAMAGED[what])

    with pytest.raises(StoreError, match=r"some\.json: not JSON: "):
        read_json(path)


def test_depth_is_counted_whatever_the_stack_has_left():
    def at_depth(n):
        return at_depth(n - 1) if n else decode_value(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)

    assert at_depth(sys.getrecursionlimit() // 2) == decode_value(
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    )


def test_an_object_is_asked_for_its_keys(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"shards": []}')

    assert read_object(path, "shards") == {"shards": []}
    with pytest.raises(StoreError, match=r"a\.json: has no files, leaks; it is not complete"):
        read_object(path, "shards", "files", "leaks")
    path.write_text("[]")
    with pytest.raises(StoreError, match=r"a\.json: holds a JSON list, wanted an object"):
        read_object(path)


def test_a_settings_file_nested_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cis490.toml").write_text("a = " + "[" * 100_000)

    with pytest.raises(PipelineError, match=r"cis490\.toml: nested too deep"):
        Settings.load()


@pytest.mark.parametrize("what", NO_JSON)
def test_events_are_refused_by_the_decoder_of_the_contract(what):
    with pytest.raises(msgspec.DecodeError, match=r"."):
        decode_events(DAMAGED[what])
