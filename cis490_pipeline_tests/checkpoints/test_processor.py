"""What numbers were computed on is described from what the system and the libraries say."""

import platform
import subprocess
import sys
import types

import pytest

from cis490_pipeline.checkpoints import processor as described
from cis490_pipeline.checkpoints.processor import (
    INSTRUCTIONS,
    SWITCHES,
    computed_on,
    kernels,
    processor,
    processor_line,
)

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse4_2 avx f16c fma avx2 sha_ni

processor\t: 1
model name\t: another
"""
PI = "processor\t: 0\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give the text of ``/proc/cpuinfo``; the machine has caches of 32K and 512K."""
    caches = tmp_path / "cache"
    for number, (level, kind, size) in enumerate(
        (("1", "Data", "32K"), ("1", "Instruction", "64K"), ("2", "Unified", "512K"))
    ):
        folder = caches / f"index{number}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    (caches / "index9").mkdir()
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)

    def of(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(described, "CPU_INFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(described, "CACHES", caches)
        processor.cache_clear()

    yield of
    processor.cache_clear()


def test_a_processor_is_told_from_others_of_its_name(machine):
    machine(EPYC)

    assert processor() == {
        "name": "AMD EPYC",
        "model": "vendor_id AuthenticAMD, cpu family 25, model 1, stepping 1",
        "instructions": "sse4_2 avx f16c fma avx2",
        "caches": "L1 32K, L2 512K",
    }


def test_arm_names_its_instructions_otherwise(machine):
    machine(PI)

    assert processor()["instructions"] == "asimd"
    assert processor()["model"] == "CPU implementer 0x41, CPU part 0xd08"


def test_switches_of_the_environment_are_named(machine, monkeypatch):
    machine(EPYC)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("MKL_CBWR", "  ")

    assert processor()["switches"] == "ATEN_CPU_CAPABILITY=default"


def test_a_machine_that_says_nothing_still_has_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(described, "CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(described, "CACHES", tmp_path / "none")
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    processor.cache_clear()

    assert processor() == {"name": platform.processor() or platform.machine()}
    processor.cache_clear()


def test_one_line_has_name_model_and_instructions(machine):
    machine(EPYC)

    assert processor_line(processor()) == (
        "AMD EPYC; vendor_id AuthenticAMD, cpu family 25, model 1, stepping 1; "
        "sse4_2 avx f16c fma avx2"
    )
    assert processor_line({}) == "not recorded"


def test_nothing_of_this_machine_names_its_host():
    assert platform.node() not in " ".join(computed_on().values()).split()


def test_this_machine_has_known_instructions():
    assert set(processor()["instructions"].split()) <= set(INSTRUCTIONS)
    assert processor()["instructions"]


def test_what_torch_was_built_with_and_what_it_chose_is_read_from_it(monkeypatch):
    torch = types.SimpleNamespace(
        __config__=types.SimpleNamespace(
            show=lambda: (
                "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 1\n"
                "  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80af)\n"
            )
        ),
        backends=types.SimpleNamespace(
            cpu=types.SimpleNamespace(get_cpu_capability=lambda: "AVX512")
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)

    found = kernels()

    assert (found["torch"], found["mkl"], found["onednn"]) == (
        "AVX512",
        "2024.2-Product",
        "3.12.0",
    )


def test_openblas_is_named_with_the_kernels_it_chose():
    import numpy  # noqa: F401 - loaded, so that it is described

    version, chosen = kernels()["openblas"].split(", ")[0].split()
    assert version[0].isdigit()
    assert chosen


def test_no_library_is_loaded_to_be_described():
    text = (
        "import sys\nfrom cis490_pipeline.checkpoints.processor import computed_on\n"
        "found = computed_on()\n"
        "print(sorted({'torch', 'scipy'} & set(sys.modules)), 'torch' in found)"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    assert done.stdout == "[] False\n"
