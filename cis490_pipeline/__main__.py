"""``python -m cis490_pipeline``: the same as ``cis490``."""

from cis490_pipeline.cli import main

if __name__ == "__main__":
    main()
