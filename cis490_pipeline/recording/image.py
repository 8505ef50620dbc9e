"""Guest image: a kernel and an initial ramdisk of this machine's packages, with reproducible bytes.

The ramdisk holds busybox, the system's Python with a compiled part of its standard library, the
agent, the load runner and the modules of the virtual devices. Nothing is downloaded.
"""

import gzip
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, TypedDict

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.storage.files import atomic_write, file_sha256, read_object, write_json

KERNEL_FILE, RAMDISK_FILE, DESCRIPTION_FILE = "vmlinuz", "initramfs.cpio.gz", "image.json"
AGENT_PATH: Final = "opt/cis490/agent.pyz"
_MODULES: Final = (
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "ata_piix",
)
_LEFT_OUT: Final = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "distutils"),
    *("pydoc_data", "unittest", "xml", "xmlrpc", "sqlite3", "wsgiref", "dbm", "curses", "html"),
    *("multiprocessing", "venv", "dist-packages", "site-packages", "__pycache__", "lib-dynload"),
    # 32 MB, for linking programs with Python.
    "config-*",
)
"""Folders of the standard library that neither agent nor load runner use."""
_COMPRESSION: Final = 6


class ImageDescription(TypedDict):
    """``image.json``: what the image was made from."""

    kernel_release: str
    kernel_sha256: str
    ramdisk_sha256: str
    python_version: str


@dataclass(frozen=True)
class Image:
    """A built image: paths of its two files and its digest."""

    folder: Path
    description: ImageDescription

    @property
    def kernel(self) -> Path:
        """Path of the kernel."""
        return self.folder / KERNEL_FILE

    @property
    def ramdisk(self) -> Path:
        """Path of the initial ramdisk."""
        return self.folder / RAMDISK_FILE

    @classmethod
    def opened(cls, folder: Path) -> "Image":
        """Open an image, verifying both files against its description.

        Raises
        ------
        StoreError, ConfigError
            If it is incomplete or changed.
        """
        found = read_object(folder / DESCRIPTION_FILE, *ImageDescription.__required_keys__)
        description = ImageDescription(**found)  # type: ignore[typeddict-item]
        image = cls(folder, description)
        for path, key in ((image.kernel, "kernel_sha256"), (image.ramdisk, "ramdisk_sha256")):
            if file_sha256(path) != found[key]:
                raise ConfigError(
                    f"{path}: does not match {DESCRIPTION_FILE}; make it again: "
                    f"cis490 record image --out {folder}"
                )
        return image


def build_image(out: Path, agent: bytes) -> Image:
    """Build kernel and ramdisk from this machine's packages.

    Parameters
    ----------
    out : folder for the three files.
    agent : content of the agent's one file.

    Raises
    ------
    ConfigError
        Naming every package that is missing here.
    """
    kernel, modules = _installed_kernel()
    busybox, python = shutil.which("busybox"), Path("/usr/bin/python3")
    missing = [
        package
        for package, found in (
            ("linux-image-cloud-amd64", kernel),
            ("busybox-static", busybox),
            ("python3", python.exists()),
        )
        if not found
    ]
    if missing or kernel is None or busybox is None:
        raise ConfigError(f"record image: needs packages: apt-get install {' '.join(missing)}")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        _fill_system(tree, Path(busybox), python.resolve())
        _fill_modules(tree, modules)
        _fill_programs(tree, agent)
        ramdisk = gzip.compress(cpio_archive(tree), _COMPRESSION, mtime=0)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / RAMDISK_FILE, lambda stream: stream.write(ramdisk))
    atomic_write(out / KERNEL_FILE, lambda stream: stream.write(kernel.read_bytes()))
    description: ImageDescription = {
        "kernel_release": modules.name,
        "kernel_sha256": file_sha256(out / KERNEL_FILE),
        "ramdisk_sha256": file_sha256(out / RAMDISK_FILE),
        "python_version": _python_version(python),
    }
    write_json(out / DESCRIPTION_FILE, description)
    return Image(out, description)


def cpio_archive(tree: Path, devices: Mapping[str, tuple[int, int]] | None = None) -> bytes:
    """Return a ``newc`` cpio archive of a folder; equal trees give equal bytes.

    Parameters
    ----------
    tree : folder whose files, folders and links are stored; owners and times are not.
    devices : major and minor numbers of character devices to add, by path; the console by default.
    """
    nodes = {"dev/console": (5, 1)} if devices is None else devices
    pieces: list[bytes] = []
    names = sorted({path.relative_to(tree).as_posix() for path in tree.rglob("*")} | nodes.keys())
    for number, name in enumerate(names, 1):
        path = tree / name
        if name in nodes:
            pieces.append(_entry(number, name, stat.S_IFCHR | 0o600, b"", nodes[name]))
        elif path.is_symlink():
            target = str(path.readlink()).encode()
            pieces.append(_entry(number, name, stat.S_IFLNK | 0o777, target))
        elif path.is_dir():
            pieces.append(_entry(number, name, stat.S_IFDIR | 0o755, b""))
        else:
            executable = path.stat().st_mode & stat.S_IXUSR
            mode = stat.S_IFREG | (0o755 if executable else 0o644)
            pieces.append(_entry(number, name, mode, path.read_bytes()))
    pieces.append(_entry(0, "TRAILER!!!", 0, b""))
    return b"".join(pieces)


def _entry(
    number: int, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)
) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % value for value in fields) + encoded
    return header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4)


def _installed_kernel() -> tuple[Path | None, Path]:
    """Return the newest installed cloud kernel and its folder of modules."""

    def version(path: Path) -> list[int]:
        return [int(digits) for digits in re.findall(r"\d+", path.name)]

    kernels = sorted(Path("/boot").glob("vmlinuz-*-cloud-*"), key=version)
    for kernel in reversed(kernels):
        modules = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
        if (modules / "modules.dep").exists():
            return kernel, modules
    return None, Path()


def _fill_system(tree: Path, busybox: Path, python: Path) -> None:
    _copy(busybox, tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    _copy(python, tree / "usr/bin/python3")
    for library in _libraries_of(python):
        _copy(library, tree / library.relative_to("/"))
    home = Path(f"usr/lib/{python.name}")
    _fill_standard_library(Path("/") / home, tree / home, python)
    for folder in ("dev", "proc", "sys", "etc"):
        (tree / folder).mkdir(exist_ok=True)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")


def _libraries_of(program: Path) -> list[Path]:
    """Return the shared libraries and the loader of a program."""
    lines = _output("/usr/bin/ldd", str(program)).decode()
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", lines)})


def _fill_standard_library(source: Path, target: Path, python: Path) -> None:
    """Compile the standard library without sources: an emulated guest compiles slowly at boot."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    _compile(target, python)
    dynamic = source / "lib-dynload"
    if dynamic.is_dir():
        (target / "lib-dynload").mkdir()
        # The agent maps the ring of a capture; other modules without an underscore nobody needs.
        for module in sorted([*dynamic.glob("_*.so"), *dynamic.glob("mmap.*.so")]):
            if not module.name.startswith(("_test", "_curses", "_sqlite", "_dbm", "_tkinter")):
                _copy(module, target / "lib-dynload" / module.name)


def _compile(folder: Path, python: Path) -> None:
    """Replace sources by legacy bytecode that names no time and no temporary folder."""
    # One process and a fixed hash seed: marshalled sets and references are then equal each time.
    how = ("-q", "-b", "-s", str(folder), "-p", "/lib", "--invalidation-mode", "unchecked-hash")
    _output(str(python), "-m", "compileall", *how, str(folder))
    for path in [*folder.rglob("*.py")]:
        path.unlink()


def _fill_modules(tree: Path, modules: Path) -> None:
    """Copy the modules of the virtual devices, and their order of loading."""
    needs: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        name = _module_name(path)
        paths[name] = path
        needs[name] = [_module_name(dependency) for dependency in dependencies.split()]
    order: list[str] = []
    for name in _MODULES:
        _append_in_order(name, needs, order)
    for name in order:
        _copy_module(modules / paths[name], tree / f"lib/modules/{name}.ko")
    (tree / "etc/modules").write_text("".join(f"{name}.ko\n" for name in order))


def _module_name(path: str) -> str:
    return Path(path).name.split(".")[0]


def _append_in_order(name: str, needs: Mapping[str, Iterable[str]], order: list[str]) -> None:
    # A kernel may have it built in; then it has no file and needs no loading.
    if name in order or name not in needs:
        return
    for needed in needs[name]:
        _append_in_order(needed, needs, order)
    order.append(name)


def _copy_module(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".ko":
        shutil.copyfile(source, target)
        return
    unpack = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[source.suffix]
    target.write_bytes(_output(unpack, "-dc", str(source)))


def _fill_programs(tree: Path, agent: bytes) -> None:
    guest = files("cis490_pipeline.recording") / "guest"
    (tree / "opt/cis490/cis490_guest").mkdir(parents=True)
    (tree / AGENT_PATH).write_bytes(agent)
    for name in ("__init__.py", "protocol.py", "runner.py", "mimics.py", "benign.py"):
        (tree / "opt/cis490/cis490_guest" / name).write_bytes((guest / name).read_bytes())
    (tree / "init").write_bytes((guest / "init.sh").read_bytes())
    (tree / "init").chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _python_version(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return _output(str(python), "-c", code).decode().strip()


def _output(*command: str) -> bytes:
    """Run a program of this system; return what it printed."""
    settings = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", os.defpath)}
    try:
        done = subprocess.run(command, check=True, capture_output=True, env=settings)  # noqa: S603
    except subprocess.CalledProcessError as fault:
        text = fault.stderr.decode(errors="replace")[-500:]
        raise ConfigError(f"record image: {command[0]} failed: {text}") from fault
    return done.stdout
