from pathlib import Path

import pytest

from cis490_pipeline.recording.host.machine import MachineFiles, qemu_command
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.plan import HostShape

DESCRIPTION = {
    "kernel_release": "6.1",
    "kernel_sha256": "",
    "ramdisk_sha256": "",
    "python_version": "3.11",
}
IMAGE = Image(Path("/image"), DESCRIPTION)
FILES = MachineFiles(Path("/run/x"))


def command(**shape):
    return " ".join(qemu_command(HostShape(name="a", **shape), IMAGE, FILES))


def test_the_link_is_a_tap_without_offloads_and_there_is_no_other():
    text = command()

    assert "-netdev tap,id=net,ifname=tap0,script=no,downscript=no,vnet_hdr=off" in text
    assert text.count("-netdev") == 1
    assert "user" not in text.split("-netdev")[1]
    assert "-nodefaults" in text


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"vcpus": 4, "ram_mib": 128}, "-smp 4 -m 128"),
        ({"threads": "single", "tb_size_mib": 32}, "-accel tcg,thread=single,tb-size=32"),
        ({"machine": "pc", "cpu": "Nehalem"}, "-machine pc -cpu Nehalem"),
        ({"cache": "none", "aio": "native"}, "cache=none,aio=native"),
        ({"disk": "nvme"}, "cis490.disk=nvme0n1"),
        ({"disk": "virtio-scsi"}, "scsi-hd,drive=disk"),
        ({"disk": "none"}, "cis490.disk=none cis490.filesystem=tmpfs"),
        ({}, "cis490.filesystem=ext4"),
        ({"filesystem": "tmpfs"}, "cis490.disk=vda cis490.filesystem=tmpfs"),
    ],
)
def test_a_shape_is_in_the_command(shape, words):
    assert words in command(**shape)


def test_the_guest_captures_only_where_it_is_asked_to():
    asked = qemu_command(HostShape(name="a"), IMAGE, FILES, capture_inside=True)

    assert "cis490.capture=yes" in asked[asked.index("-append") + 1]
    assert "cis490.capture" not in command()


def test_a_machine_without_a_disk_has_no_drive():
    assert "-drive" not in command(disk="none")
