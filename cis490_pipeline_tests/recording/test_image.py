import os
import re
import shutil
import subprocess

import pytest

from cis490_pipeline.errors import ConfigError, StoreError
from cis490_pipeline.recording.image import (
    DESCRIPTION_FILE,
    KERNEL_FILE,
    RAMDISK_FILE,
    Image,
    cpio_archive,
)
from cis490_pipeline.storage.files import file_sha256, write_json


def fill(tree, *, reverse=False):
    names = ["init", "etc/hosts", "bin/busybox", "lib/a.so"]
    for name in reversed(names) if reverse else names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode() * 3)
    (tree / "init").chmod(0o755)
    (tree / "bin/sh").symlink_to("busybox")
    return tree


def test_equal_trees_give_equal_bytes_whatever_their_times_and_order(tmp_path):
    first, second = fill(tmp_path / "a"), fill(tmp_path / "b", reverse=True)
    os.utime(second / "init", (1, 1))

    assert cpio_archive(first) == cpio_archive(second)


@pytest.mark.skipif(shutil.which("cpio") is None and shutil.which("busybox") is None, reason="cpio")
def test_another_program_unpacks_it(tmp_path):
    archive = cpio_archive(fill(tmp_path / "a"), devices={})
    out = tmp_path / "out"
    out.mkdir()
    program = ["cpio"] if shutil.which("cpio") else ["busybox", "cpio"]
    subprocess.run([*program, "-i", "-d"], input=archive, cwd=out, check=True, capture_output=True)

    assert (out / "etc/hosts").read_bytes() == b"etc/hosts" * 3
    assert os.access(out / "init", os.X_OK)
    assert not os.access(out / "lib/a.so", os.X_OK)
    assert (out / "bin/sh").readlink().name == "busybox"


def test_the_console_is_a_device_node(tmp_path):
    archive = cpio_archive(fill(tmp_path / "a"))
    [header] = re.findall(rb"070701([0-9a-f]{104})dev/console\0", archive)
    fields = [int(header[k : k + 8], 16) for k in range(0, 104, 8)]

    assert fields[1] == 0o020600
    assert fields[9:11] == [5, 1]


def make_image(folder):
    (folder / KERNEL_FILE).write_bytes(b"kernel")
    (folder / RAMDISK_FILE).write_bytes(b"ramdisk")
    description = {
        "kernel_release": "6.1.0",
        "kernel_sha256": file_sha256(folder / KERNEL_FILE),
        "ramdisk_sha256": file_sha256(folder / RAMDISK_FILE),
        "python_version": "3.11.2",
    }
    write_json(folder / DESCRIPTION_FILE, description)
    return Image.opened(folder)


def test_a_changed_image_is_refused(tmp_path):
    make_image(tmp_path)
    (tmp_path / RAMDISK_FILE).write_bytes(b"another")

    with pytest.raises(ConfigError, match=r"initramfs\.cpio\.gz: does not match image\.json"):
        Image.opened(tmp_path)


def test_an_image_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"image\.json: no such file"):
        Image.opened(tmp_path)
