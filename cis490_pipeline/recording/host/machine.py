"""One virtual machine: its QEMU command line, its life and its end with the recorder."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.compute.process import dies_with
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.plan import HostShape

QEMU: Final = "qemu-system-x86_64"
GUEST_ADDRESS, GATEWAY_ADDRESS = "10.198.0.2", "10.198.0.1"
TAP: Final = "tap0"
_DISK_NAMES: Final = {
    "virtio-blk": "vda",
    "virtio-scsi": "sda",
    "ide": "sda",
    "nvme": "nvme0n1",
    "none": "none",
}
_DISK_DEVICES: Final = {
    "virtio-blk": ["-device", "virtio-blk-pci,drive=disk"],
    "virtio-scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"],
    "ide": ["-device", "ide-hd,drive=disk,bus=ide.0"],
    "nvme": ["-device", "nvme,drive=disk,serial=scratch"],
}
_MAX_WORDS: Final = 600


@dataclass(frozen=True)
class MachineFiles:
    """Sockets and files of one machine, in a folder of its own."""

    folder: Path

    @property
    def qmp(self) -> Path:
        """Socket of QEMU's machine protocol."""
        return self.folder / "qmp"

    @property
    def control(self) -> Path:
        """Socket of the load runner's channel."""
        return self.folder / "control"

    @property
    def rows(self) -> Path:
        """Socket of the agent's rows."""
        return self.folder / "rows"

    @property
    def console(self) -> Path:
        """What the guest printed on its serial console."""
        return self.folder / "console.log"

    @property
    def messages(self) -> Path:
        """What QEMU printed."""
        return self.folder / "qemu.log"

    @property
    def disk(self) -> Path:
        """Image of the scratch disk."""
        return self.folder / "disk.img"

    def log(self) -> bytes:
        """Return what QEMU and the guest's console printed."""
        texts = [path.read_bytes() for path in (self.messages, self.console) if path.exists()]
        return b"\n".join(text.strip() for text in texts if text.strip())

    def last_words(self) -> str:
        """Return the end of the log in one line."""
        text = self.log()[-_MAX_WORDS:].decode(errors="replace")
        # A guest must not write to the terminal that shows why its run failed.
        line = "".join(c if c.isprintable() else " " for c in text)
        return " ".join(line.split()) or "nothing"


def qemu_command(
    shape: HostShape, image: Image, files: MachineFiles, *, capture_inside: bool = False
) -> list[str]:
    """Return the command line of a machine.

    Parameters
    ----------
    shape : the host's shape.
    image : kernel and ramdisk.
    files : places of its sockets and logs.
    capture_inside : whether the guest's agent sends netflow rows too, to compare with the tap's.
    """
    words = (
        f"console=ttyS0 quiet panic=-1 cis490.address={GUEST_ADDRESS}/24 "
        f"cis490.gateway={GATEWAY_ADDRESS} cis490.disk={_DISK_NAMES[shape.disk]} "
        f"cis490.filesystem={shape.scratch}"
    ) + (" cis490.capture=yes" if capture_inside else "")
    command = [
        *(QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"),
        *("-machine", shape.machine, "-cpu", shape.cpu),
        *("-accel", f"tcg,thread={shape.threads},tb-size={shape.tb_size_mib}"),
        *("-smp", str(shape.vcpus), "-m", str(shape.ram_mib)),
        *("-kernel", str(image.kernel), "-initrd", str(image.ramdisk), "-append", words),
        *("-qmp", f"unix:{files.qmp},server=on,wait=off"),
        *("-serial", f"file:{files.console}"),
        *("-device", "virtio-serial-pci"),
    ]
    for name, path in (("control", files.control), ("rows", files.rows)):
        command += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
        command += ["-device", f"virtserialport,chardev={name},name=cis490.{name}"]
    # Offloads off: with them the tap shows packets of 64 KiB that never were on a wire.
    command += ["-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no,vnet_hdr=off"]
    command += ["-device", "virtio-net-pci,netdev=net,mac=52:54:00:c1:54:90,romfile="]
    if shape.disk != "none":
        drive = f"file={files.disk},if=none,id=disk,format=raw"
        command += ["-drive", f"{drive},cache={shape.cache},aio={shape.aio}"]
        command += _DISK_DEVICES[shape.disk]
    return command


def make_disk(path: Path, mib: int) -> None:
    """Make an empty ext4 file system in a sparse file.

    Raises
    ------
    RecordingError
        If mke2fs is missing or fails.
    """
    mke2fs = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    command = [mke2fs, "-q", "-F", "-t", "ext4", str(path), f"{mib}M"]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    except FileNotFoundError as missing:
        raise RecordingError("mke2fs is not installed: apt-get install e2fsprogs") from missing
    except subprocess.CalledProcessError as fault:
        text = fault.stderr.decode(errors="replace")[-300:]
        raise RecordingError(f"{path}: mke2fs failed: {text}") from fault


class Machine:
    """A running QEMU process, which the kernel ends with the recorder."""

    def __init__(
        self, shape: HostShape, image: Image, files: MachineFiles, *, capture_inside: bool = False
    ) -> None:
        if shape.disk != "none":
            make_disk(files.disk, shape.disk_mib)
        with files.messages.open("wb") as messages:
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    qemu_command(shape, image, files, capture_inside=capture_inside),
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 (this process has one thread)
                )
            except FileNotFoundError as missing:
                raise RecordingError(
                    f"{QEMU} is not installed: apt-get install qemu-system-x86"
                ) from missing

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the machine: its disk is thrown away, so there is nothing to shut down."""
        self._process.kill()
        self._process.wait()
