"""Lines between the recorder and the load runner: requests, their answers, and events."""

from collections.abc import Sequence
from typing import TypedDict


class Parameters(TypedDict, total=False):
    """Parameters of an activity; each takes a few of them."""

    seed: int
    payload_kib: int
    copy_kib: int
    steps_per_s: float
    beacon_s: float
    processes: int
    share: float
    every_s: float
    bytes: int
    files: int
    file_kib: int
    files_per_s: float
    per_s: float
    ports: Sequence[int]
    silent_share: float
    burst_kib: int
    port: int
    package_kib: int
    mib: int
    jobs: int
    page_kib: int
    requests_per_s: float
    writes_per_s: float
    copies: int
    servers: int
    pause_s: float
    kbit_per_s: int
    actions_per_s: float


class Details(TypedDict, total=False):
    """What a request to start or stop is about."""

    slot: str
    activity: str
    parameters: Parameters


class Request(Details):
    """A line to the load runner."""

    id: int
    do: str


class Message(TypedDict, total=False):
    """A line of the load runner: an answer, with the request's id, or an event."""

    id: int | None
    event: str
    slot: str
    activity: str
    status: int
    pid: int
    stopped: bool
    """Whether the slot had another activity until then."""
    error: str
    t_guest_wall_ns: int
    t_guest_mono_ns: int
