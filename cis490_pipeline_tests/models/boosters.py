"""UBJSON encoded again, so that tests can change a booster; run as a module it damages one.

``python -m cis490_pipeline_tests.models.boosters MODEL.ubj FIRST N`` restores N damaged copies of a
booster, seeded from FIRST on, in one process, and prints how many were refused and how many loaded.
"""

import json
import random
import struct
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.models.base import ModelState
from cis490_pipeline.models.trees.gbt import Gbt

_CODES = {"f4": "d", "f8": "D", "i1": "i", "u1": "U", "i2": "I", "i4": "l", "i8": "L"}


def encode_ubjson(value):
    """The bytes XGBoost writes for a decoded value."""
    if isinstance(value, dict):
        items = (_length(key) + key.encode() + encode_ubjson(v) for key, v in value.items())
        return b"{" + b"".join(items) + b"}"
    if isinstance(value, str):
        return b"S" + _length(value) + value.encode()
    if isinstance(value, np.ndarray):
        code = _CODES[value.dtype.str.lstrip("<>|=")]
        raw = value.astype(value.dtype.newbyteorder(">")).tobytes()
        return f"[${code}#".encode() + _length(value) + raw
    if isinstance(value, list):
        return b"[#" + _length(value) + b"".join(map(encode_ubjson, value))
    for code, form in (("i", "b"), ("I", "h"), ("l", "i"), ("L", "q")):
        if -(2 ** (8 * struct.calcsize(form) - 1)) <= value < 2 ** (8 * struct.calcsize(form) - 1):
            return code.encode() + struct.pack(f">{form}", value)
    raise AssertionError(value)


def _length(sized):
    n = len(sized.encode()) if isinstance(sized, str) else len(sized)
    return b"L" + struct.pack(">q", n)


def damaged(content, seed):
    """A copy with one thing wrong: a bit, a byte, a number, an end, bytes more or fewer."""
    rng, copy = random.Random(seed), bytearray(content)
    at = rng.randrange(len(copy))
    kind = ("bit", "bit", "bit", "byte", "number", "cut", "more", "fewer")[seed % 8]
    if kind == "bit":
        copy[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        copy[at] = rng.randrange(256)
    elif kind == "number":
        copy[at : at + 4] = rng.randbytes(4)
    elif kind == "cut":
        del copy[at:]
    elif kind == "more":
        copy[at:at] = copy[at : at + rng.randrange(1, 200)]
    else:
        del copy[at : at + rng.randrange(1, 9)]
    return bytes(copy)


def main(path, first, n):
    content = Path(path).read_bytes()
    X = np.random.default_rng(0).normal(size=(8, 145)).astype(np.float32)
    outcomes = Counter()
    for seed in range(first, first + n):
        model = Gbt(Variant.REALISTIC)
        try:
            model.restore(ModelState(booster=damaged(content, seed)), {})
        except CheckpointError:
            outcomes["refused"] += 1
            continue
        model.predict_proba(X)
        outcomes["loaded"] += 1
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
