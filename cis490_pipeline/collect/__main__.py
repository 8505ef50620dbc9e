"""``python -m cis490_pipeline.collect``: the agent, in a process that imports nothing else."""

import sys

from cis490_pipeline.collect.entry import main

if __name__ == "__main__":
    sys.exit(main())
