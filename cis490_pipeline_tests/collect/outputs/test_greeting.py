"""The agent's proof is HMAC-SHA256."""

import hmac
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.outputs import greeting


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=300))
def test_it_is_the_standards_hmac(key: bytes, message: bytes) -> None:
    assert greeting.hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


def test_it_loads_no_openssl() -> None:
    code = (
        "import sys\nfrom cis490_pipeline.collect.outputs.greeting import proof\n"
        "proof(b'x' * 16, b'agent', b'')\n"
        "assert not {'_hashlib', '_ssl'} & set(sys.modules)"
    )
    root = Path(greeting.__file__).parents[3]

    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
