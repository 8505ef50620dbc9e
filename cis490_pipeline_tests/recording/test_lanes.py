import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import ConfigError, RecordingError, StoreError
from cis490_pipeline.recording import lanes, requirements
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.lanes import RecordingConfig, lacking, record_plan, token_text
from cis490_pipeline.recording.provenance import recorder_sha256
from cis490_pipeline.recording.schedule import schedule
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.writing import pack, random_part, ulid, write_archive, writing_alone
from cis490_pipeline_tests.recording.plans import made_plan
from cis490_pipeline_tests.recording.test_image import make_image

# A lane without a machine: what it does is named by the file "behaviour" beside the image.
STUB = """
import json, os, sys, time
from pathlib import Path
import msgspec
from cis490_pipeline.recording.lane import *
from cis490_pipeline.store.writing import pack, ulid
folder = Path(sys.argv[1])
task = msgspec.json.decode((folder / TASK_FILE).read_bytes(), type=LaneTask)
planned = schedule(task.plan)[task.number]
behaviour = (Path(task.image) / "behaviour").read_text()
with (Path(task.image) / "started").open("a") as log:
    log.write(f"{task.number} {os.getpid()}\\n")
if behaviour == "hang":
    time.sleep(600)
if behaviour == "crash":
    raise SystemExit("the lane broke")
failed = behaviour == "fail" or behaviour == f"fail {task.number}"
token = os.urandom(10) if failed else planned.token
failure = "the guest is hung" if failed else None
if behaviour == "no episode":
    outcome = LaneOutcome(episode_id=None, failure="no boot", ended_at_ns=time.time_ns())
else:
    made_by = json.loads((Path(task.image) / "made_by").read_text())
    (folder / ARCHIVE_FILE).write_bytes(pack({"meta.json": json.dumps(made_by).encode()}))
    outcome = LaneOutcome(
        episode_id=ulid(1_800_000_000_000, token), failure=failure, ended_at_ns=time.time_ns()
    )
(folder / OUTCOME_FILE).write_bytes(msgspec.json.encode(outcome))
"""


@pytest.fixture
def image(tmp_path, monkeypatch):
    """An image beside which ``behaviour`` says what its lanes do."""
    folder = tmp_path / "image"
    folder.mkdir()
    make_image(folder)
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(lanes, "LANE_COMMAND", (sys.executable, str(tmp_path / "stub.py")))
    (folder / "behaviour").write_text("record")
    (folder / "made_by").write_text(json.dumps(made_by(folder)))
    return folder


def made_by(image, **changed):
    by = {
        "recorder_sha256": recorder_sha256(),
        "image_sha256": Image.opened(image).description["ramdisk_sha256"],
        **changed,
    }
    return {
        "recording": {"recorder_sha256": by["recorder_sha256"]},
        "vm": {"image_sha256": by["image_sha256"]},
    }


def quiet(what, done, total, detail=""):
    pass


def record(tmp_path, image, n=4, **config):
    plan = made_plan(episodes=n)
    return record_plan(
        plan, RecordingConfig(store=tmp_path / "store", image=image, **config), quiet
    )


def tokens(store):
    return {random_part(ref.episode_id) for ref in LocalStore(store).read_index().rows}


def test_every_run_is_committed_and_nothing_else_is_left(tmp_path, image):
    seen = []
    config = RecordingConfig(store=tmp_path / "store", image=image, lanes=2)
    plan = made_plan(episodes=4)
    summary = record_plan(plan, config, lambda what, done, total, detail="": seen.append(done))

    assert (summary.recorded, summary.kept, summary.failures) == (4, 0, [])
    assert tokens(tmp_path / "store") == {token_text(run) for run in schedule(plan)}
    assert seen == [0, 1, 2, 3, 4]
    assert {path.name for path in (tmp_path / "store").iterdir()} == {
        "episodes",
        "index.jsonl",
        ".recording.lock",
    }
    assert LocalStore(tmp_path / "store").left_out().n == 0


def test_a_store_with_runs_of_the_plan_is_refused_without_resume(tmp_path, image):
    record(tmp_path, image)

    with pytest.raises(StoreError, match="holds 4 of the 4 runs of this plan; add --resume"):
        record(tmp_path, image)


@pytest.mark.long
def test_a_block_is_recorded_by_itself_and_is_committed_before_the_next(tmp_path, image):
    config = {"store": tmp_path / "store", "image": image}
    plan = made_plan(episodes=8, blocks=2)
    first = record_plan(plan, RecordingConfig(**config, block=1), quiet)
    with pytest.raises(StoreError, match="holds 4 of the 4 runs of this block; add --resume"):
        record_plan(plan, RecordingConfig(**config, block=1), quiet)
    second = record_plan(plan, RecordingConfig(**config, block=2), quiet)
    rest = record_plan(plan, RecordingConfig(**config, resume=True), quiet)

    assert (first.planned, first.recorded) == (second.planned, second.recorded) == (4, 4)
    assert (rest.recorded, rest.kept) == (0, 8)
    with pytest.raises(ConfigError, match="block 3: the plan has blocks 1 to 2"):
        record_plan(plan, RecordingConfig(**config, block=3), quiet)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"recorder_sha256": "f" * 64}, "another recorder ffffffffffff, now "),
        ({"image_sha256": "e" * 64}, "another image eeeeeeeeeeee, now "),
        ({"recorder_sha256": None}, "another recorder None, now "),
    ],
)
@pytest.mark.long
def test_a_plan_is_recorded_by_one_recorder_on_one_image(tmp_path, image, changed, text):
    (image / "made_by").write_text(json.dumps(made_by(image, **changed)))
    config = {"store": tmp_path / "store", "image": image}
    plan = made_plan(episodes=8, blocks=2)
    record_plan(plan, RecordingConfig(**config, block=1), quiet)

    with pytest.raises(StoreError, match=text):
        record_plan(plan, RecordingConfig(**config, block=2), quiet)
    # Another plan in this store is another corpus.
    other = record_plan(made_plan(episodes=2, seed=9), RecordingConfig(**config), quiet)

    assert other.recorded == 2
    assert len(tokens(tmp_path / "store")) == 6


def test_a_plan_that_this_machine_cannot_record_boots_nothing(tmp_path, image, monkeypatch):
    monkeypatch.setattr(requirements, "_netem_refused", lambda path: "kind is unknown")
    plan = made_plan(host=[{"name": "far", "link": {"delay_ms": 40}}])

    with pytest.raises(RecordingError, match=r"lacks the kernel module sch_netem.*host far"):
        record_plan(plan, RecordingConfig(store=tmp_path / "store", image=image), quiet)
    assert not (image / "started").exists()
    assert not (tmp_path / "store").exists()


def test_resume_records_what_is_lacking_only(tmp_path, image):
    (image / "behaviour").write_text("fail 1")
    first = record(tmp_path, image)
    (image / "behaviour").write_text("record")
    (image / "started").unlink()
    second = record(tmp_path, image, resume=True)

    assert (first.recorded, len(first.failures)) == (3, 1)
    assert "run 1" in first.failures[0]
    assert "the guest is hung" in first.failures[0]
    assert (second.recorded, second.kept) == (1, 3)
    assert [line.split()[0] for line in (image / "started").read_text().splitlines()] == ["1"]
    # The failed run stays in the store, as evidence.
    assert len(LocalStore(tmp_path / "store").read_index().rows) == 5


def test_resume_keeps_an_archive_whose_row_was_lost_and_drops_partial_files(tmp_path, image):
    store, plan = tmp_path / "store", made_plan(episodes=4)
    run = schedule(plan)[2]
    ref = EpisodeRef(run.host.name, ulid(1_800_000_000_000, run.token))
    write_archive(store, ref, pack({"meta.json": json.dumps(made_by(image)).encode()}))
    partial = store / "episodes" / ref.host_id / ".01M8.tar.zst.abc.tmp"
    partial.write_bytes(b"half")
    (store / ".recording" / "1").mkdir(parents=True)
    summary = record(tmp_path, image, resume=True)

    assert (summary.recorded, summary.kept) == (3, 1)
    assert not partial.exists()
    assert lacking(store, schedule(plan)) == []


@pytest.mark.parametrize(
    ("behaviour", "message"), [("crash", "the lane broke"), ("no episode", "no boot")]
)
@pytest.mark.long
def test_a_machine_on_which_the_first_runs_fail_is_given_up(tmp_path, image, behaviour, message):
    (image / "behaviour").write_text(behaviour)

    with pytest.raises(RecordingError, match=f"the first 3 runs failed: .*{message}"):
        record(tmp_path, image, n=10)


def test_a_lane_that_hangs_is_ended_and_counts_as_failed(tmp_path, image, monkeypatch):
    (image / "behaviour").write_text("hang")
    monkeypatch.setattr(lanes, "limit_s", lambda planned: 0.5)

    with pytest.raises(RecordingError, match="its lane ended with status -9"):
        record(tmp_path, image, n=3, lanes=3)


def test_a_second_recorder_on_one_store_is_refused(tmp_path, image):
    with (
        writing_alone(tmp_path / "store", ".recording.lock"),
        pytest.raises(StoreError, match="another process is writing"),
    ):
        record(tmp_path, image)


INTERRUPTED = """
import sys
from pathlib import Path
from cis490_pipeline.recording import lanes
from cis490_pipeline_tests.recording.plans import made_plan
lanes.LANE_COMMAND = (sys.executable, sys.argv[1])
config = lanes.RecordingConfig(store=Path(sys.argv[2]), image=Path(sys.argv[3]), lanes=2)
lanes.record_plan(made_plan(episodes=4), config, lambda *a, **k: None)
"""


@pytest.mark.long
def test_an_interrupt_ends_the_lanes_and_keeps_what_is_committed(tmp_path, image):
    (image / "behaviour").write_text("hang")
    arguments = [str(tmp_path / "stub.py"), str(tmp_path / "store"), str(image)]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments], stderr=subprocess.DEVNULL
    )
    until_s = time.monotonic() + 60
    while len(started(image)) < 2:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(30)

    assert not any(Path(f"/proc/{pid}").exists() for pid in started(image))
    (image / "behaviour").write_text("record")
    assert record(tmp_path, image, resume=True).recorded == 4


def started(image):
    log = image / "started"
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


class Disk:
    """A disk with some room left, which lanes may fill."""

    def __init__(self, monkeypatch, *free):
        self._free = list(free)
        monkeypatch.setattr(lanes.shutil, "disk_usage", lambda store: self)

    @property
    def free(self):
        return self._free.pop(0) if len(self._free) > 1 else self._free[0]


@pytest.mark.long
def test_a_run_is_not_begun_on_a_disk_without_room_for_it(tmp_path, image, monkeypatch):
    with monkeypatch.context() as patch:
        Disk(patch, 100 << 20)
        with pytest.raises(OSError, match="105 MB are free where a run needs 302 MB") as full:
            record(tmp_path, image)

    assert full.value.errno == errno.ENOSPC
    assert full.value.filename == str(tmp_path / "store")
    assert not (image / "started").exists()
    assert record(tmp_path, image).recorded == 4


@pytest.mark.long
def test_a_disk_that_fills_up_ends_the_recording_and_resume_goes_on(tmp_path, image, monkeypatch):
    (image / "behaviour").write_text("fail 1")
    room = 1 << 40
    with monkeypatch.context() as patch:
        # Room for run 0 and run 1; the disk is full when run 1 has failed.
        Disk(patch, room, room, 1000)
        with pytest.raises(OSError, match="No space left on device: 0 MB are free"):
            record(tmp_path, image)
    (image / "behaviour").write_text("record")

    assert record(tmp_path, image, resume=True).recorded == 3
    assert lacking(tmp_path / "store", schedule(made_plan(episodes=4))) == []
