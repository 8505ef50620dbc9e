"""Value types of events, each with the bound that a dashboard enforces.

Bounds are part of the contract and of the JSON Schema, so that a receiver can hold a known number
of events in a known amount of memory.
"""

from typing import Annotated, Final

from msgspec import Meta

Name = Annotated[str, Meta(max_length=128)]
"""A model, host, profile, phase, channel or label."""
MAX_TEXT: Final = 400
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
"""Free text for a reader."""
Identity = Annotated[str, Meta(max_length=256)]
"""Identifier of an event or an episode."""
# A bound makes a number finite as well: JSON has no NaN, and 1e999 is out of range.
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
Seconds = Annotated[float, Meta(ge=-1e9, le=1e9)]
Positive = Annotated[float, Meta(ge=0, le=1e18)]
Share = Annotated[float, Meta(ge=0, le=1)]
# Largest integer that every JSON reader, including browsers, reads exactly.
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]

Names = Annotated[list[Name], Meta(max_length=64)]
Curve = Annotated[list[Number | None], Meta(max_length=2000)]
Readings = Annotated[list[Number | None], Meta(max_length=600)]
Times = Annotated[list[Seconds], Meta(min_length=1, max_length=600)]
Channels = Annotated[dict[Name, Readings], Meta(max_length=64)]
"""Readings by channel name."""
# Not tuple[Number, Number]: in a union with a bounded number, msgspec 0.22 reads past the end of
# its tables and crashes.
Point = Annotated[list[Number], Meta(min_length=2, max_length=2)]
"""A time and a value."""
