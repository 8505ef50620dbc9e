"""A real machine, emulated: boot, record, end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cis490_pipeline.collect.pack import packed
from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.recording.image import build_image
from cis490_pipeline.recording.lanes import RecordingConfig, record_plan
from cis490_pipeline.recording.plan import read_plan
from cis490_pipeline.store.episode import open_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import validate_episode
from cis490_pipeline_tests.recording.plans import plan_fields, write_plan

NEEDED = ("qemu-system-x86_64", "busybox", "ip", "mke2fs")
MISSING = [name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin:/bin") is None]
KERNELS = [*Path("/boot").glob("vmlinuz-*-cloud-*")]
pytestmark = pytest.mark.long
TIMING = {
    "settle_s": [1, 2],
    "lead_s": 16,
    "lead_mean_s": 0,
    "lead_cap_s": 16,
    "chain_s": [20, 21],
    "phase_s": [8, 10],
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    assert not MISSING, f"not installed: {MISSING}; see docs/how-to/record.md"
    assert KERNELS, "no cloud kernel in /boot (Debian: linux-image-cloud-amd64)"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return build_image(tmp_path_factory.mktemp("image"), packed())


@pytest.fixture
def plan(tmp_path):
    fields = plan_fields(
        episodes=1,
        # Of this seed the first phase is infected_running.
        seed=1,
        clean_only_share=0.0,
        lookalikes=[],
        timing=TIMING,
        host=[{"name": "lab-small", "ram_mib": 128}],
    )
    fields["profile"] = fields["profile"][:1]
    return write_plan(tmp_path / "plan.toml", fields)


def quiet(what, done, total, detail=""):
    pass


def test_two_images_of_the_same_packages_have_the_same_bytes(image, tmp_path):
    again = build_image(tmp_path, packed())

    assert again.description == image.description


def test_a_recorded_run_is_accepted_and_its_labels_lie_where_its_behaviour_changes(
    image, plan, tmp_path
):
    store = tmp_path / "store"
    summary = record_plan(
        read_plan(plan), RecordingConfig(store=store, image=image.folder, commit="0" * 40), quiet
    )
    opened = LocalStore(store)
    [(ref, row)] = opened.read_index().rows.items()
    verdict = validate_episode(opened, ref, row)
    episode = open_episode(opened, ref, row)

    assert summary.failures == []
    assert verdict["status"] == "accepted", verdict["details"]
    assert [label.phase for label in episode.labels][:2] == ["clean", "infected_running"]
    proc = episode.rows[Source.PROC].columns.values
    begin_ns = episode.labels[1].t_wall_ns
    jiffies = proc["cpu_user_jiffies"] + proc["cpu_sys_jiffies"]

    def used(from_s, to_s):
        times_s = (proc["t_wall_ns"] - begin_ns) / NS_PER_S
        inside = jiffies[(times_s > from_s) & (times_s <= to_s)]
        return (inside[-1] - inside[0]) / (to_s - from_s)

    assert used(0.5, 3.0) > 2 * used(-3.0, -0.5)


RECORD = "from cis490_pipeline.cli import main; import sys; main(sys.argv[1:])"


def test_killing_the_recorder_ends_qemu_and_leaves_no_indexed_half(image, plan, tmp_path):
    store = tmp_path / "store"
    words = ["record", str(plan), "--store", str(store), "--image", str(image.folder)]
    recorder = subprocess.Popen([sys.executable, "-c", RECORD, *words], stderr=subprocess.DEVNULL)
    qemu = wait_for(lambda: machines(store))
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()

    wait_for(lambda: not any(map(is_running, qemu)))
    assert LocalStore(store).read_index().rows == {}
    assert [*LocalStore(store).listed()] == []


def test_killing_qemu_fails_the_run(image, plan, tmp_path):
    store = tmp_path / "store"
    words = ["record", str(plan), "--store", str(store), "--image", str(image.folder), "--json"]
    recorder = subprocess.Popen(
        [sys.executable, "-c", RECORD, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with recorder:
        for pid in wait_for(lambda: machines(store)):
            os.kill(pid, signal.SIGKILL)
        [failure] = json.loads(recorder.stdout.read())["failures"]

    assert "lab-small" in failure
    assert recorder.returncode == 1


def machines(store):
    """Process ids of the QEMU processes of a store's lanes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                "qemu" in (folder / "comm").read_text()
                and store in (folder / "cwd").resolve().parents
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, limit_s=60.0):
    until_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return value
