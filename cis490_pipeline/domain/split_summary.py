"""A split without its assignment: what reports print and carry of it."""

from typing import TypedDict

Parameter = str | int | float | None | list[str]


class SplitSummary(TypedDict):
    """What a split was made by, and what its sides hold and share, as JSON values."""

    recipe: str
    version: int
    seed: int
    parameters: dict[str, Parameter]
    selected_on: str
    untested_profiles: dict[str, list[str]]
    shared: dict[str, list[str]]
    counts: dict[str, int]
    excluded: dict[str, int]
    digest: str
