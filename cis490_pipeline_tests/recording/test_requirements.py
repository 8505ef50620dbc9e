import pytest

from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording import requirements
from cis490_pipeline.recording.requirements import assert_fit, lacking_for, lacking_here
from cis490_pipeline_tests.recording.plans import made_plan


def test_every_program_that_is_missing_is_named_with_its_package(tmp_path):
    lacks = {lack.what: lack.remedy for lack in lacking_here(boot=tmp_path, path=str(tmp_path))}

    assert lacks["qemu-system-x86_64"] == "apt-get install qemu-system-x86"
    assert lacks["busybox"] == "apt-get install busybox-static"
    assert lacks["a cloud kernel"] == "apt-get install linux-image-cloud-amd64"
    assert "user namespaces" in lacks["network namespaces"]


def test_what_is_there_is_not_named(tmp_path):
    for name in ("qemu-system-x86_64", "busybox", "mke2fs", "ip", "tc", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "vmlinuz-6.1.0-1-cloud-amd64").touch()
    named = {lack.what for lack in lacking_here(boot=tmp_path, path=str(tmp_path))}

    assert named <= {"qemu.qmp", "/dev/net/tun"}


LINKED = [{"name": "a"}, {"name": "far", "link": {"delay_ms": 40}}, {"name": "lossy", "link": {}}]


@pytest.fixture
def programs(tmp_path):
    """A folder with an ``unshare`` that only runs the command, and a ``tc`` that a test makes."""

    def make(tc):
        for name, text in (("unshare", 'shift; exec "$@"'), ("tc", tc)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        return f"{tmp_path}:/usr/bin:/bin"

    return make


def test_a_plan_with_a_link_needs_sch_netem_and_says_for_which_hosts(programs):
    path = programs("echo 'Error: Specified qdisc kind is unknown.' >&2; exit 2")
    [lack] = lacking_for(made_plan(host=LINKED), path)

    assert lack.what == (
        "the kernel module sch_netem (Error: Specified qdisc kind is unknown.) for hosts far, lossy"
    )
    assert lack.remedy.startswith("modprobe sch_netem; where this kernel was built without it")
    assert lack.remedy.endswith("take `link` out of these hosts")


def test_where_the_module_is_there_links_are_recorded(programs, tmp_path):
    path = programs(f'echo "$@" > {tmp_path}/asked')

    assert lacking_for(made_plan(host=LINKED), path) == []
    asked = (tmp_path / "asked").read_text()
    assert asked == "qdisc add dev lo root netem delay 1ms loss 0.0%\n"


def test_a_plan_without_links_or_limits_needs_nothing_more(programs):
    assert lacking_for(made_plan(), programs("exit 2")) == []


def test_a_plan_that_this_machine_cannot_record_is_refused_with_every_reason(monkeypatch):
    monkeypatch.setattr(requirements, "_netem_refused", lambda path: "unknown")
    monkeypatch.setattr(requirements, "limits_refused", lambda: "Permission denied")
    plan = made_plan(host=[{"name": "a", "cpu_percent": 50, "link": {"delay_ms": 1}}])

    with pytest.raises(RecordingError, match=r"sch_netem.*it lacks control groups.*as root"):
        assert_fit(plan)
