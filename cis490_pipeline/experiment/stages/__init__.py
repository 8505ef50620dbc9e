"""Stages: what makes one artefact, when it is current, and how it is recorded."""
