"""Description of the processor and of the kernels that numeric libraries select for it.

Libraries select kernels by instruction set and cache sizes, and other kernels sum in another order.
The last bits of sums then differ, and training amplifies the difference over many steps.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

CPU_INFO: Final = Path("/proc/cpuinfo")
CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
INSTRUCTIONS: Final = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "asimddp", "sve", "sve2"),
)
"""Instruction sets that affect kernel selection, named as in ``/proc/cpuinfo``."""
SWITCHES: Final = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Environment variables that override kernel selection."""

_MODEL: Final = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part")


@cache
def processor() -> dict[str, str]:
    """Describe the properties of the processor that determine kernel selection.

    Returns
    -------
    ``name`` as reported; ``model`` with family, model and stepping, because several generations
    share a name; ``instructions`` supported out of ``INSTRUCTIONS``; ``caches`` of the first core,
    whose sizes determine block sizes; ``switches`` set in the environment. Unknown values are
    omitted. Nothing identifies a host or a person.
    """
    info = _cpu_info()
    features = set(info.get("flags", info.get("Features", "")).split())
    described = {
        "name": info.get("model name") or platform.processor() or platform.machine(),
        "model": ", ".join(f"{key} {info[key]}" for key in _MODEL if key in info),
        "instructions": " ".join(name for name in INSTRUCTIONS if name in features),
        "caches": ", ".join(_caches()),
        "switches": " ".join(f"{name}={os.environ[name]}" for name in SWITCHES if _is_set(name)),
    }
    return {key: value for key, value in described.items() if value}


def kernels() -> dict[str, str]:
    """Describe the kernels selected by the numeric libraries loaded in this process.

    Returns
    -------
    ``torch``, its instruction level; ``mkl`` and ``onednn``, the versions torch was built with;
    ``numpy``, its highest level; ``openblas``, version and kernels of each copy. Libraries that
    are not loaded are omitted, and none is imported.
    """
    loaded = {**_of_torch(sys.modules.get("torch")), **_of_numpy(sys.modules.get("numpy"))}
    return {key: value for key, value in loaded.items() if value}


def computed_on() -> dict[str, str]:
    """Return processor and kernels together, as recorded in a checkpoint."""
    return {**processor(), **kernels()}


def processor_line(described: dict[str, str]) -> str:
    """Format a described processor on one line."""
    parts = (described.get(key, "") for key in ("name", "model", "instructions", "switches"))
    return "; ".join(part for part in parts if part) or "not recorded"


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())


def _cpu_info() -> dict[str, str]:
    """Return the first processor's fields of ``/proc/cpuinfo``; empty if unavailable."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _caches() -> Iterator[str]:
    for folder in sorted(CACHES.glob("index[0-9]*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            )
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            yield f"L{level} {size}"


def _of_torch(torch: Any) -> dict[str, str]:
    if torch is None:
        return {}
    built = torch.__config__.show()
    mkl = re.search(r"Math Kernel Library Version (\S+)", built)
    onednn = re.search(r"(?:MKL-DNN|oneDNN) v(\S+)", built)
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "mkl": mkl[1] if mkl else "",
        "onednn": onednn[1] if onednn else "",
    }


def _of_numpy(numpy: Any) -> dict[str, str]:
    if numpy is None:
        return {}
    levels = numpy.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return {"numpy": levels[-1] if levels else "", "openblas": ", ".join(_openblas())}


def _openblas() -> list[str]:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    loaded = (lib for lib in threadpool_info() if lib["internal_api"] == "openblas")
    return sorted({f"{lib['version']} {lib.get('architecture', '')}".strip() for lib in loaded})
