"""A fuzzer guided by coverage for all that reads a stranger's bytes: archives, rows, manifests.

By hand, for as long as one likes::

    python -m cis490_pipeline_tests.store.fuzz_archive --seconds 600

An input that breaks something is left in the folder that is named at the end; give it as an
argument to run that input alone.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

RSS_LIMIT_MB = 1024
INPUT_TIMEOUT_S = 10
PROBLEM_PREFIX = "problem-"

MISSING_ATHERIS = (
    "the fuzzer needs atheris, which is not installed; it comes with the extra `dev`: "
    "pip install -e '.[dev]'"
)


def load_atheris() -> Any:
    """Import the fuzzer's engine, or say plainly what is missing."""
    try:
        import atheris
    except ImportError as missing:
        raise SystemExit(MISSING_ATHERIS) from missing
    return atheris


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keeps the corpus, and what was found")
    parser.add_argument("inputs", nargs="*", type=Path, help="run these alone")
    options = parser.parse_args()
    atheris = load_atheris()
    work = options.work or Path(tempfile.mkdtemp(prefix="cis490-fuzz-"))
    scratch = work / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    # Only what is imported in here is watched, so nothing above may import the store.
    with atheris.instrument_imports(include=["cis490_pipeline.store", "tarfile"]):
        from cis490_pipeline_tests.store.fuzz_corpus import MAX_SEED_BYTES, write_corpus
        from cis490_pipeline_tests.store.fuzz_targets import Targets
    targets = Targets(scratch)
    corpus = write_corpus(work / "corpus")
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-max_len={MAX_SEED_BYTES}",
        "-print_final_stats=1",
        "-len_control=0",
        f"-artifact_prefix={work}/{PROBLEM_PREFIX}",
        *([str(path) for path in options.inputs] or [str(corpus)]),
    ]
    print(f"works in {work}", flush=True)
    atheris.Setup(arguments, targets.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
