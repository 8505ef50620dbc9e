"""One device per feed: the first that is named keeps it, and a second is refused by name."""

from cis490_pipeline.live.feeds.agent_status import AgentStatus

_MAX_BOOTS = 64


class DeviceGate:
    """Decides whose rows a feed takes.

    A device that was cut off may come back with a new boot before its old connection is found to be
    dead. A boot that was followed by another cannot return, however: then two machines have one
    name.

    Attributes
    ----------
    device : name of the feed's device; None until one is named.
    """

    def __init__(self) -> None:
        self.device: str | None = None
        self._boot_id: str | None = None
        self._past_boots: list[str] = []

    def refusal(self, status: AgentStatus) -> str | None:
        """Return why a device is refused; None takes it as the feed's."""
        if self.device is None:
            self.device = status.device
        if status.device != self.device:
            return (
                f"device {status.device} is refused: this feed is of device {self.device}; "
                "give each device a feed of its own"
            )
        if status.boot_id is None or status.boot_id == self._boot_id:
            return None
        if status.boot_id in self._past_boots:
            return (
                f"a second device by the name of {status.device} is refused: "
                "give it a name of its own with --device"
            )
        if self._boot_id is not None:
            self._past_boots = [*self._past_boots[1 - _MAX_BOOTS :], self._boot_id]
        self._boot_id = status.boot_id
        return None
