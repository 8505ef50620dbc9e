"""A sweep that is cut off anywhere goes on, loses nothing, and ends in the same bytes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pytest

from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.verdicts import sweep as sweep_module
from cis490_pipeline.store.verdicts.sweep import sweep
from cis490_pipeline.store.verdicts.sweep_journal import SweepJournal
from cis490_pipeline.store.verdicts.validate import VALIDATION_SCHEMA
from cis490_pipeline_tests.store.episodes import REF, MadeEpisode, index_row, write_index

T = TypeVar("T")
R = TypeVar("R")
N_EPISODES = 40
NOON = "2026-11-22T12:00:00Z"


def refs(n: int) -> list[EpisodeRef]:
    return [EpisodeRef("lab-nuc", f"01M81BARRCN7QZCM8VAFDHK{k:03d}") for k in range(n)]


def copies(root: Path, n: int) -> LocalStore:
    """Write a store of the same archive under many names: quick to make, and quick to reject."""
    content = MadeEpisode().archive()
    folder = root / "episodes" / "lab-nuc"
    folder.mkdir(parents=True)
    rows = []
    for ref in refs(n):
        (folder / f"{ref.episode_id}.tar.zst").write_bytes(content)
        rows.append(index_row(ref, content))
    write_index(root, rows)
    return LocalStore(root)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return copies(tmp_path / "store", N_EPISODES)


class CutOff(SerialCompute):
    """A machine that stops after some tasks."""

    def __init__(self, n_tasks: int) -> None:
        self._n_tasks = n_tasks

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        for position, result in super().map(function, tasks):
            if position == self._n_tasks:
                raise KeyboardInterrupt
            yield position, result


def cut_off(store: LocalStore, journal: Path, n_tasks: int = 1) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep(store, None, CutOff(n_tasks), journal=journal, checked_at=NOON)


def test_sweep_goes_on_where_it_was_cut_off(store: LocalStore, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(store, journal, n_tasks=2)

    resumed = sweep(store, None, SerialCompute(), journal=journal)

    assert (resumed.n_reused, resumed.n_read) == (32, 8)


@pytest.mark.parametrize("n_tasks", [0, 1, 2])
def test_resumed_sweep_makes_the_same_bytes_as_one_never_cut_off(
    store: LocalStore, tmp_path: Path, n_tasks: int
) -> None:
    whole = sweep(store, None, SerialCompute(), checked_at=NOON)
    cut_off(store, tmp_path / "journal", n_tasks)

    resumed = sweep(store, None, ProcessCompute(2), journal=tmp_path / "journal")

    write_parquet(tmp_path / "whole.parquet", whole.frame)
    write_parquet(tmp_path / "resumed.parquet", resumed.frame)
    assert (tmp_path / "resumed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("n_bytes", [1, 100, 5000])
def test_torn_end_of_a_journal_is_cut_off_and_only_that_is_read_again(
    store: LocalStore, tmp_path: Path, n_bytes: int
) -> None:
    journal = tmp_path / "journal"
    cut_off(store, journal)
    os.truncate(journal, journal.stat().st_size - n_bytes)

    resumed = sweep(store, None, SerialCompute(), journal=journal)
    again = sweep(store, None, SerialCompute(), journal=journal)

    assert 0 < resumed.n_reused < 16
    assert resumed.n_reused + resumed.n_read == N_EPISODES
    assert (again.n_read, again.frame.equals(resumed.frame)) == (0, True)


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 100, b"{}\n", b"[1]\nx"])
def test_what_is_no_journal_is_begun_anew(
    store: LocalStore, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "journal").write_bytes(content)

    result = sweep(store, None, SerialCompute(), journal=tmp_path / "journal")

    assert result.n_read == N_EPISODES


def test_row_that_fits_no_column_is_read_again(store: LocalStore, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(store, journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = json.dumps(json.loads(lines[3]) | {"rows_qmp": "many"}).encode() + b"\n"
    journal.write_bytes(b"".join(lines))

    resumed = sweep(store, None, SerialCompute(), journal=journal)

    assert resumed.n_reused < 16
    assert resumed.frame.height == N_EPISODES


def test_journal_of_another_store_or_other_rules_is_not_believed(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    cut_off(store, journal)
    elsewhere = LocalStore(store.root.rename(tmp_path / "elsewhere"))

    moved = sweep(elsewhere, None, CutOff(9), journal=journal)
    monkeypatch.setattr(sweep_module, "RULES_VERSION", "other")
    ruled = sweep(elsewhere, None, CutOff(9), journal=journal)

    assert (moved.n_reused, ruled.n_reused) == (0, 0)


def test_what_changed_between_two_attempts_is_read_again(store: LocalStore, tmp_path: Path) -> None:
    cut_off(store, tmp_path / "journal")
    path = store.archive_path(refs(1)[0])
    path.write_bytes(path.read_bytes()[:-1])

    resumed = sweep(store, None, SerialCompute(), journal=tmp_path / "journal")

    assert resumed.n_reused == 15
    first = resumed.frame.filter(pl.col("episode_id") == refs(1)[0].episode_id)
    assert first["reasons"].to_list() == [["sha256_mismatch"]]


def test_second_opener_waits_for_the_first(tmp_path: Path) -> None:
    about = {"store": "here"}
    script = (
        "from pathlib import Path\n"
        "from cis490_pipeline.store.verdicts.sweep_journal import SweepJournal\n"
        f"with SweepJournal(Path({str(tmp_path / 'journal')!r}), {{}}, {about!r}) as journal:\n"
        "    print(journal.begin('later'))\n"
    )
    with SweepJournal(tmp_path / "journal", {}, about) as first:
        other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.5)
        first.begin("earlier")
    told, _ = other.communicate(timeout=20)

    assert told == "earlier\n"


def validate_command(store: Path, data: Path) -> list[str]:
    places = ["--store", str(store), "--data", str(data)]
    return [sys.executable, "-m", "cis490_pipeline", "validate", *places, "--workers", "2"]


def environment() -> dict[str, str]:
    mine = {name: text for name, text in os.environ.items() if not name.startswith("CIS490_")}
    # One instant for all runs: what is left to differ is what being killed changed.
    return mine | {"SOURCE_DATE_EPOCH": "1795340000", "OMP_NUM_THREADS": "1"}


def start_and_wait_for_rows(store: Path, data: Path, n_rows: int) -> subprocess.Popen[str]:
    journal = data / "processed" / "validation_v1.journal.jsonl"
    process = subprocess.Popen(
        validate_command(store, data),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (journal.exists() and journal.read_bytes().count(b"\n") > n_rows):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def run_to_the_end(store: Path, data: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*validate_command(store, data), "--json"],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.long
def test_killed_validate_run_again_writes_the_bytes_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    store = copies(tmp_path / "store", 160).root
    process = start_and_wait_for_rows(store, tmp_path / "killed", 64)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished = (tmp_path / "killed/processed/validation_v1.journal.jsonl").read_bytes()
    assert not (tmp_path / "killed/processed/validation_v1.parquet").exists()

    resumed = run_to_the_end(store, tmp_path / "killed")
    whole = run_to_the_end(store, tmp_path / "whole")

    assert whole["archives_read"] == 160
    assert resumed["archives_read"] == 160 - (finished.count(b"\n") - 1) < 160 - 63
    killed, never = (tmp_path / name / "processed" for name in ("killed", "whole"))
    assert (killed / "validation_v1.parquet").read_bytes() == (
        never / "validation_v1.parquet"
    ).read_bytes()
    assert not (killed / "validation_v1.journal.jsonl").exists()


@pytest.mark.long
def test_interrupted_validate_says_130_and_keeps_what_was_finished(tmp_path: Path) -> None:
    store = copies(tmp_path / "store", 160).root
    process = start_and_wait_for_rows(store, tmp_path / "data", 32)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert (process.returncode, "Traceback" in errors) == (130, False)
    left = {path.name for path in (tmp_path / "data/processed").glob("[!.]*")}
    assert left == {"records", "validation_v1.journal.jsonl"}
    assert run_to_the_end(store, tmp_path / "data")["archives_read"] < 160


def test_two_sweeps_at_once_take_turns(tmp_path: Path) -> None:
    store = copies(tmp_path / "store", 60).root
    commands = [[*validate_command(store, tmp_path / "data"), "--json"] for _ in range(2)]
    running = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in running]

    assert sorted(one["archives_read"] for one in told) == [0, 60]
    assert {one["n_episodes"] for one in told} == {60}


def test_store_that_changes_under_a_sweep_is_swept_right_the_next_time(
    store: LocalStore,
) -> None:
    """Meanwhile one archive goes, one comes, one is replaced, and the index is half written."""
    gone, replaced = refs(2)

    def change(what: str, done: int, total: int, detail: str = "") -> None:
        if done:
            return
        store.archive_path(gone).unlink()
        rows: list[IndexRow] = list(store.read_index().rows.values())
        store.archive_path(replaced).unlink()
        new = MadeEpisode(labels=[]).archive()
        store.archive_path(replaced).write_bytes(new)
        episode = MadeEpisode(REF).write(store.root)
        sealed = index_row(replaced, new)
        write_index(store.root, [*rows, sealed, episode], extra='{"received_at_wall": "2026-11-2')

    during = sweep(store, None, SerialCompute(), change)
    after = sweep(store, during.frame, SerialCompute())
    fresh = sweep(store, None, SerialCompute())

    assert during.frame.height == N_EPISODES
    assert (after.n_read, after.frame.height) == (3, N_EPISODES + 1)
    assert after.frame.drop("checked_at").equals(fresh.frame.drop("checked_at"))
    assert after.skipped_index_rows.n == 1


def test_journal_rows_have_the_columns_of_the_index(store: LocalStore, tmp_path: Path) -> None:
    cut_off(store, tmp_path / "journal")
    about = {"rules": sweep_module.RULES_VERSION, "store": str(store.root.resolve())}

    with SweepJournal(tmp_path / "journal", VALIDATION_SCHEMA, about) as journal:
        began = journal.begin("later")
        rows = pl.concat(journal.finished())

    assert (began, rows.height, dict(rows.schema)) == (NOON, 16, VALIDATION_SCHEMA)


def test_first_shipment_time_is_the_indexs_not_the_journals(
    store: LocalStore, tmp_path: Path
) -> None:
    cut_off(store, tmp_path / "journal")
    rows = store.read_index().rows.values()
    moved = [dataclasses.replace(row, received_at_wall="2026-11-20T00:00:00Z") for row in rows]
    write_index(store.root, moved)

    resumed = sweep(store, None, SerialCompute(), journal=tmp_path / "journal")

    assert resumed.n_reused == 16
    assert resumed.frame["received_at_wall"].unique().to_list() == ["2026-11-20T00:00:00.000000Z"]
