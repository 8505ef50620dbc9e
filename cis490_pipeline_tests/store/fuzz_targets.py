"""What the fuzzer calls, and what must hold of every answer whatever the bytes are."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import zstandard

from cis490_pipeline.domain import Source
from cis490_pipeline.store import metadata
from cis490_pipeline.store import receiver as layout
from cis490_pipeline.store.archive import unpack as archive
from cis490_pipeline.store.rows import read as rows
from cis490_pipeline_tests.store.episodes import REF, MadeEpisode


class Targets:
    """What is called with each input; the input's first byte says which."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._limits = archive.Limits(member_bytes=4 << 20, total_bytes=8 << 20)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._targets: tuple[Callable[[bytes], None], ...] = (
            self._read_archive,
            self._read_tar,
            self._read_folder,
            *(self._rows_target(source) for source in Source),
            self._read_meta,
            self._read_labels,
            self._read_events,
            self._read_index,
        )

    def one_input(self, data: bytes) -> None:
        """Give an input to the target it names; whatever is raised is a finding."""
        if data:
            self._targets[data[0] % len(self._targets)](data[1:])

    def _read_archive(self, content: bytes) -> None:
        path = self._scratch / f"{REF.episode_id}.tar.zst"
        path.write_bytes(content)
        self._check_unpacked(archive.unpack(path, limits=self._limits))

    def _read_tar(self, content: bytes) -> None:
        # Mutations of compressed bytes seldom decompress: here they reach the tar's own reader.
        self._read_archive(self._compressor.compress(content))

    def _read_folder(self, content: bytes) -> None:
        """Read a folder whose members' names and contents are the input's, one a NUL."""
        folder = self._scratch / REF.episode_id
        folder.mkdir()
        try:
            for part in content.split(b"\0\0")[:70]:
                name, _, inside = part.partition(b"\0")
                if name and b"/" not in name and name not in (b".", b".."):
                    with contextlib.suppress(OSError):
                        (folder / name.decode("utf-8", "surrogateescape")).write_bytes(inside)
            self._check_unpacked(archive.unpack(folder, limits=self._limits))
        finally:
            shutil.rmtree(folder)

    def _check_unpacked(self, unpacked: archive.Unpacked) -> None:
        assert unpacked.contents.keys() <= archive.READ_MEMBERS
        assert sum(map(len, unpacked.contents.values())) <= self._limits.total_bytes
        assert unpacked.contents.keys() <= unpacked.line_counts.keys()
        assert unpacked.complete or unpacked.findings, "incomplete, and no reason given"
        for name, count in unpacked.line_counts.items():
            # Lines are counted of what is not kept; whoever reads the rest counts them.
            assert count is None if name in unpacked.contents else count is None or count >= 0
        for finding in unpacked.findings:
            str(finding).encode("utf-8")

    def _rows_target(self, source: Source) -> Callable[[bytes], None]:
        def read_both_ways(content: bytes) -> None:
            read = rows.read_rows(source, content)
            with mock.patch.object(rows, "_read_at_once", return_value=None):
                careful = rows.read_rows(source, content)
            assert read.frame.schema == careful.frame.schema
            assert read.frame.equals(careful.frame, null_equal=True)
            assert read.faults == careful.faults
            assert read.n_lines == careful.n_lines
            assert read.unknown == careful.unknown
            assert read.frame.height + len(read.faults) <= max(read.n_lines, len(read.faults))

        return read_both_ways

    def _read_meta(self, content: bytes) -> None:
        for finished in (False, True):
            meta, findings = metadata.parse_meta(content, finished=finished)
            assert meta is not None or findings, "no meta, and no reason given"
            labels, _ = metadata.parse_labels(MadeEpisode().members()["labels.jsonl"])
            if meta is not None:
                metadata.end_findings(meta, labels)

    def _read_labels(self, content: bytes) -> None:
        labels, findings = metadata.parse_labels(content)
        assert labels or findings
        for label in labels:
            assert 0 < label.t_wall_ns < 2**63

    def _read_events(self, content: bytes) -> None:
        events, findings = metadata.parse_events(content)
        assert len(events) + len(findings) <= content.count(b"\n") + 1

    def _read_index(self, content: bytes) -> None:
        store = layout.LocalStore(self._scratch)
        store.index_path.write_bytes(content)
        index = store.read_index()
        assert len(index.rows) + index.skipped.n <= content.count(b"\n") + 1
        for ref, row in index.rows.items():
            assert row.ref == ref
            assert store.archive_path(ref).parent.parent == self._scratch / "episodes"
