"""Model input specification: shape, and the columns of each source."""

from dataclasses import dataclass

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.features.channels import channel_indices, source_slices
from cis490_pipeline.features.columns import calibrated_shape, per_channel
from cis490_pipeline.features.windows import STEPS


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Input specification of one model."""

    kind: InputKind
    variant: Variant
    n_channels: int
    n_steps: int
    """Grid steps of a window, 10 Hz."""
    sources: tuple[tuple[str, int, int], ...]
    """(name, start, stop) of each source's channels on the channel axis."""

    @property
    def columns_per_channel(self) -> int:
        """Columns per channel on a window's first axis."""
        return per_channel(self.kind)

    @property
    def n_columns(self) -> int:
        """Length of a window's first axis: channels, or channels × columns."""
        return self.n_channels * self.columns_per_channel

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return calibrated_shape(self.kind, self.n_channels)

    @property
    def source_columns(self) -> tuple[slice, ...]:
        """Columns of each source on a window's first axis."""
        per = self.columns_per_channel
        return tuple(slice(start * per, stop * per) for _, start, stop in self.sources)


def input_spec(kind: InputKind, variant: Variant) -> InputSpec:
    """Build the input specification of a kind of input and a variant."""
    return InputSpec(
        kind=kind,
        variant=variant,
        n_channels=len(channel_indices(variant)),
        n_steps=STEPS,
        sources=tuple(
            (str(source), columns.start, columns.stop)
            for source, columns in source_slices(variant).items()
        ),
    )
