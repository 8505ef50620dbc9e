"""Other feature schemas for child processes, without touching a file of the project."""

import os
import sys

HOOK = """
import dataclasses, os, pathlib
from cis490_pipeline import domain
from cis490_pipeline.domain import telemetry

# Looked at when a process starts: what runs on keeps the schema it began with.
if pathlib.Path(os.environ["CIS490_TEST_SCHEMA"]).exists():
    channels = list(telemetry.CHANNELS)
    (at,) = (i for i, c in enumerate(channels) if c.name == "guest.cpu_iowait")
    channels[at] = dataclasses.replace(channels[at], kind=telemetry.Kind.GAUGE)
    domain.CHANNELS = telemetry.CHANNELS = tuple(channels)
"""

DIFFERENCE = "(guest.cpu_iowait) kind was 'counter', is 'gauge'"


class SchemaSwitch:
    """Changes one channel's kind in every process that starts while it is on."""

    def __init__(self, folder):
        self.hooks, self.flag = folder / "hooks", folder / "other_schema"
        self.hooks.mkdir()
        (self.hooks / "sitecustomize.py").write_text(HOOK)

    @property
    def environment(self):
        """Variables for the child processes."""
        # The project first: an installed copy need not be the one under test.
        path = [str(self.hooks), *(p for p in sys.path if p)]
        return {"PYTHONPATH": os.pathsep.join(path), "CIS490_TEST_SCHEMA": str(self.flag)}

    def turn_on(self):
        self.flag.touch()
