import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from cis490_pipeline.compute.process import log_to_stderr


def test_messages_of_the_package_are_plain_lines_on_standard_error(capsys):
    logger = logging.getLogger("cis490_pipeline")
    before, level = list(logger.handlers), logger.level
    try:
        log_to_stderr()
        log_to_stderr()
        logging.getLogger("cis490_pipeline.somewhere").info("%d models scored", 3)
        logging.getLogger("other").info("not ours")
        assert capsys.readouterr().err == "3 models scored\n"
    finally:
        logger.handlers[:], logger.level = before, level


PARENT = """
import os, subprocess, sys, time
from cis490_pipeline.compute.process import dies_with
child = subprocess.Popen(["sleep", "600"], preexec_fn=dies_with(os.getpid()))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_with_its_parent_even_if_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        parent.kill()
    until_s = time.monotonic() + 10

    while is_running(child):
        assert time.monotonic() < until_s
        time.sleep(0.02)


def is_running(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
