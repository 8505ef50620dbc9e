"""The fuzzer's seeds hold what it claims, it notices what does not, and it finds nothing itself."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cis490_pipeline.domain import Source
from cis490_pipeline.store.archive import unpack as archive
from cis490_pipeline.store.rows import read as rows
from cis490_pipeline.store.rows.columns import Columns
from cis490_pipeline_tests.store import fuzz_archive
from cis490_pipeline_tests.store.fuzz_corpus import ARCHIVE, FOLDER, ROWS, TAR, seeds, write_corpus
from cis490_pipeline_tests.store.fuzz_targets import Targets

ROOT = Path(__file__).parents[2]
HAS_WHEELS = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.mark.parametrize("per_target", [2, pytest.param(None, marks=pytest.mark.long)])
def test_every_seed_holds_what_the_fuzzer_claims(tmp_path: Path, per_target: int | None) -> None:
    targets = Targets(tmp_path)
    inputs: dict[int, list[bytes]] = {}
    for path in sorted(write_corpus(tmp_path / "corpus").iterdir()):
        content = path.read_bytes()
        inputs.setdefault(content[0], []).append(content)

    for of_target in inputs.values():
        for content in of_target[:per_target]:
            targets.one_input(content)

    assert set(inputs) == set(range(len(targets._targets)))


@pytest.mark.parametrize("target", [ARCHIVE, TAR, FOLDER])
def test_seeds_reach_the_members_of_an_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: int
) -> None:
    found: list[archive.Unpacked] = []
    unpack = archive.unpack

    def watched(path: Path, **options: Any) -> archive.Unpacked:
        found.append(unpack(path, **options))
        return found[-1]

    targets, inputs = Targets(tmp_path), seeds()
    monkeypatch.setattr(archive, "unpack", watched)
    for at, content in inputs:
        if at == target:
            targets.one_input(bytes([at]) + content)

    assert any(len(unpacked.contents) >= 7 and not unpacked.findings for unpacked in found)


def test_fast_reading_that_differs_from_careful_reading_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = rows._read_at_once

    def one_row_short(*given: Any) -> rows.SourceRows | None:
        read = at_once(*given)
        if read is None:
            return None
        return replace(read, columns=Columns.of(read.frame.head(read.frame.height - 1)))

    monkeypatch.setattr(rows, "_read_at_once", one_row_short)

    with pytest.raises(AssertionError):
        Targets(tmp_path).one_input(bytes([ROWS[Source.NETFLOW]]) + b'{"t_wall_ns": 1}\n')


def test_missing_fuzzer_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)

    with pytest.raises(SystemExit, match=r"needs atheris, which is not installed; .* pip install"):
        fuzz_archive.load_atheris()


@pytest.mark.long
@pytest.mark.skipif(not HAS_WHEELS, reason="atheris is built for Linux on x86-64")
def test_fuzzer_guided_by_coverage_finds_neither_crash_nor_hang_nor_too_much_memory(
    tmp_path: Path,
) -> None:
    # A shell between: a process begins with the peak memory of the one that started it, and
    # libFuzzer would count that of these tests.
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    command = [*shell, sys.executable, "-m", "cis490_pipeline_tests.store.fuzz_archive"]
    done = subprocess.run(
        [*command, "--seconds=40", "--seed=1", f"--work={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    problems = sorted(path.name for path in tmp_path.glob(f"{fuzz_archive.PROBLEM_PREFIX}*"))
    assert (done.returncode, problems) == (0, []), done.stderr[-4000:]
    n_runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r" cov: (\d+) ", done.stderr)
    # A fuzzer that hardly ran, or that watches no code of ours, would find nothing either.
    assert n_runs is not None
    assert int(n_runs[1]) > len(seeds())
    assert int(coverage[-1]) > 300
