"""Hostile archives get their verdict in bounded time and memory, and leave the others theirs."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.store.archive.unpack import unpack
from cis490_pipeline.store.receiver import LocalStore, ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.rows.strict_json import parse_object
from cis490_pipeline.store.verdicts import sweep as sweep_module
from cis490_pipeline.store.verdicts.sweep import sweep
from cis490_pipeline.store.verdicts.validate import validate_episode
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    index_row,
    make_meta,
    write_index,
)
from cis490_pipeline_tests.store.hostile import HOSTILE, plain_tar

MAX_SECONDS = 30.0
MAX_MIB = 300


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Validate every hostile archive in one process of its own, which measures itself."""
    root = tmp_path_factory.mktemp("hostile")
    folder = LocalStore(root).archive_path(REF).parent
    folder.mkdir(parents=True)
    for number, (make, _) in enumerate(HOSTILE.values()):
        (folder / f"{number}.tar.zst").write_bytes(make())
    script = textwrap.dedent(
        f"""
        import json, os, pathlib, re, time
        from cis490_pipeline.store.receiver import LocalStore
        from cis490_pipeline.store.verdicts.sweep import _validate_one
        from cis490_pipeline_tests.store.episodes import REF, index_row
        folder = pathlib.Path({str(folder)!r})
        target = folder / (REF.episode_id + ".tar.zst")
        told = []
        for number in range({len(HOSTILE)}):
            os.replace(folder / f"{{number}}.tar.zst", target)
            row = index_row(REF, target.read_bytes())
            began = time.process_time()
            verdict = _validate_one(LocalStore(pathlib.Path({str(root)!r})), REF, row)
            told.append([verdict, time.process_time() - began])
        # Not getrusage: its peak survives exec, so that a large parent would be measured.
        status = pathlib.Path("/proc/self/status").read_text()
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024
        print(json.dumps({{"told": told, "peak_mib": peak}}))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    result = json.loads(done.stdout)
    return {"peak_mib": result["peak_mib"], **dict(zip(HOSTILE, result["told"], strict=True))}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_gets_its_verdict_in_bounded_time(
    judged: dict[str, Any], name: str
) -> None:
    verdict, seconds = judged[name]
    wanted = HOSTILE[name][1]

    if wanted is None:
        assert verdict["status"] == "rejected", verdict["details"]
    else:
        assert verdict["reasons"] == wanted, verdict["details"]
    assert seconds < MAX_SECONDS


def test_hostile_archives_are_judged_in_bounded_memory(judged: dict[str, Any]) -> None:
    assert judged["peak_mib"] < MAX_MIB


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_told_of_a_hostile_archive_is_bounded(judged: dict[str, Any], name: str) -> None:
    assert len(json.dumps(judged[name][0])) < 300_000


def break_on(ref: EpisodeRef, how: str) -> Any:
    def validate(store: ReceiverStore, found: EpisodeRef, row: IndexRow | None) -> dict[str, Any]:
        if found == ref:
            if how == "memory":
                raise MemoryError("no more")
            raise ZeroDivisionError("a mistake of ours")
        return validate_episode(store, found, row)

    return validate


@pytest.fixture
def pair(tmp_path: Path) -> LocalStore:
    rows = [
        MadeEpisode(ref, meta=make_meta(ref), raw={"stderr.log": ref.episode_id.encode()})
        for ref in (REF, OTHER_REF)
    ]
    write_index(tmp_path, [episode.write(tmp_path) for episode in rows])
    return LocalStore(tmp_path)


@pytest.mark.parametrize("how", ["memory", "mistake"])
def test_episode_the_code_fails_on_is_errored_and_the_other_is_judged(
    pair: LocalStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(sweep_module, "validate_episode", break_on(REF, how))

    frame = sweep(pair, None, SerialCompute()).frame

    found = dict(frame.select("episode_id", "status").iter_rows())
    assert found == {REF.episode_id: "errored", OTHER_REF.episode_id: "accepted"}
    assert frame["details"].to_list()[0][0].split(":")[0] in ("MemoryError", "ZeroDivisionError")


def dies_on_one(task: Any) -> list[dict[str, Any]]:
    if any(ref == REF for ref, _ in task.episodes):
        os._exit(9)
    return original_batch(task)


original_batch = sweep_module._validate_batch


@pytest.mark.long
def test_episode_that_kills_its_worker_is_errored_and_all_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = MadeEpisode().archive()
    others = [EpisodeRef("lab-nuc", f"01M81BARRCN7QZCM8VAFDHK{k:03d}") for k in range(10)]
    rows = []
    for ref in [REF, *others]:
        path = LocalStore(tmp_path).archive_path(ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append(index_row(ref, content))
    write_index(tmp_path, rows)
    monkeypatch.setattr(sweep_module, "_validate_batch", dies_on_one)
    monkeypatch.setattr(sweep_module, "_EPISODES_PER_TASK", 4)

    frame = sweep(LocalStore(tmp_path), None, ProcessCompute(2)).frame

    errored = frame.filter(status="errored")
    assert frame.height == 11
    assert errored["episode_id"].to_list() == [REF.episode_id]
    assert errored["details"].to_list() == [
        ["the worker process that read it ended without a word, twice"]
    ]


def test_archive_replaced_while_it_is_read_is_errored_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = MadeEpisode().write(tmp_path)
    path = LocalStore(tmp_path).archive_path(REF)

    def replace_after_hashing(_: BinaryIO) -> str | None:
        path.rename(path.with_suffix(".old"))
        path.write_bytes(MadeEpisode(labels=[]).archive())
        return row.sha256

    monkeypatch.setattr("cis490_pipeline.store.archive.unpack.stream_sha256", replace_after_hashing)
    verdict = validate_episode(LocalStore(tmp_path), REF, row)

    assert (verdict["status"], verdict["reasons"]) == ("errored", [])
    assert "was replaced while it was being read" in verdict["details"][0]


def test_folder_of_many_files_is_not_read_to_its_end(tmp_path: Path) -> None:
    for number in range(1100):
        (tmp_path / f"{number}.txt").touch()

    unpacked = unpack(tmp_path)

    assert {finding.reason.value for finding in unpacked.findings} == {"member_too_large"}
    assert not unpacked.complete


def test_folder_member_with_bytes_for_a_name_does_not_stop_the_sweep(tmp_path: Path) -> None:
    row = MadeEpisode().write_folder(tmp_path)
    folder = tmp_path / "episodes" / REF.host_id / REF.episode_id
    (Path(os.fsdecode(bytes(folder) + b"/st\xff.log"))).write_bytes(b"")
    write_index(tmp_path, [row])

    frame = sweep(LocalStore(tmp_path), None, SerialCompute()).frame

    assert frame["reasons"].to_list() == [["unsafe_member", "unsealed"]]


def mutated(data: st.DataObject, content: bytes) -> bytes:
    result = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(result) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "copy", "drop"]))
        length = data.draw(st.integers(1, 600))
        if kind == "set":
            result[place : place + 1] = data.draw(st.binary(min_size=1, max_size=12))
        elif kind == "cut":
            del result[max(1, place) :]
        elif kind == "copy":
            result[place:place] = result[place : place + length]
        elif len(result) > length:
            del result[place : place + length]
    return bytes(result or b"\0")


def verdict_on(folder: Path, content: bytes) -> dict[str, Any]:
    path = LocalStore(folder).archive_path(REF)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return validate_episode(LocalStore(folder), REF, index_row(REF, content))


def fuzz_tar(folder: Path, data: st.DataObject) -> None:
    tar = mutated(data, plain_tar()[:6144] + bytes(1024))
    for content in (zstandard.compress(tar), mutated(data, zstandard.compress(tar))):
        assert verdict_on(folder, content)["status"] == "rejected"


def fuzz_members(folder: Path, data: st.DataObject) -> None:
    members = MadeEpisode().members()
    name = data.draw(st.sampled_from(sorted(members.keys() - {"done.marker"})))
    episode = MadeEpisode(raw={name: mutated(data, members[name][:2000])})

    assert verdict_on(folder, episode.archive())["status"] in ("accepted", "degraded", "rejected")


fuzz_settings = settings(
    deadline=10_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(fuzz_settings, max_examples=60)
@given(data=st.data())
def test_no_change_to_the_bytes_of_an_archive_breaks_the_validator(
    tmp_path: Path, data: st.DataObject
) -> None:
    fuzz_tar(tmp_path, data)


@settings(fuzz_settings, max_examples=60)
@given(data=st.data())
def test_no_change_to_the_bytes_of_a_member_breaks_the_validator(
    tmp_path: Path, data: st.DataObject
) -> None:
    fuzz_members(tmp_path, data)


@pytest.mark.long
@settings(fuzz_settings, max_examples=3_000)
@given(data=st.data())
def test_no_change_to_an_archive_breaks_the_validator_however_long_one_tries(
    tmp_path: Path, data: st.DataObject
) -> None:
    fuzz_tar(tmp_path, data)


@pytest.mark.long
@settings(fuzz_settings, max_examples=1_500)
@given(data=st.data())
def test_no_change_to_a_member_breaks_the_validator_however_long_one_tries(
    tmp_path: Path, data: st.DataObject
) -> None:
    fuzz_members(tmp_path, data)


@settings(deadline=2_000)
@given(content=st.binary(max_size=300))
def test_strict_json_gives_an_object_or_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_object(content), dict)
