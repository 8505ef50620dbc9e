"""Public Python API: what ``import cis490_pipeline as cis`` gives; names and meanings are stable.

Every function works on a workspace, with the same settings and files as the command line. Examples
assume ``import cis490_pipeline as cis`` and ``import numpy as np``.
"""
