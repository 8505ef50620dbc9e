"""Command line: thin commands over the core, results on stdout, progress on stderr.

Exit codes: 0 success, 1 findings, 2 usage or input errors, 130 interrupted.
"""

from cis490_pipeline.cli.main import main

__all__ = ["main"]
