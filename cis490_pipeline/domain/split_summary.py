"""A split without its assignment: what reports print and carry of it."""

from typing import TypedDict


class SplitParameters(TypedDict, total=False):
    """What a split was made with, cuts and hosts that the rule found included."""

    train_hosts: list[str]
    val_host: str | None
    val_hosts: list[str]
    val_fraction: float
    test_fraction: float
    excluded_profiles: list[str]
    val_from: str
    test_from: str


class SplitSummary(TypedDict):
    """What a split was made by, and what its sides hold and share, as JSON values."""

    recipe: str
    version: int
    seed: int
    parameters: SplitParameters
    selected_on: str
    untested_profiles: dict[str, list[str]]
    shared: dict[str, list[str]]
    counts: dict[str, int]
    excluded: dict[str, int]
    digest: str
