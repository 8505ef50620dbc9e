"""Lines of ``doctor`` on what ``agent`` and ``watch`` find on this machine."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cis490_pipeline.cli.data.store_lines import Line
from cis490_pipeline.collect.capture import Capture, open_capture
from cis490_pipeline.collect.interfaces import NoCapture, physical_interfaces, without_capture
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.recording.requirements import clock_is_synchronised


def agent_line(
    names: Sequence[str] | None = None,
    open_: Callable[[Sequence[str]], Capture] = open_capture,
) -> Line:
    """Return what an agent could read here: a capture is opened as the agent does, and closed.

    Parameters
    ----------
    names : interfaces to count; None for the physical ones.
    open_ : opens a capture.
    """
    names = physical_interfaces() if names is None else names
    lacks: list[NoCapture] = []
    means = ""
    # Where there is no interface the capability may be missing too: lo shows it.
    for attempt in [names] if names else [[], ["lo"]]:
        try:
            capture = open_(attempt)
        except NoCapture as lack:
            lacks.append(lack)
        else:
            means = f" by {capture.means}"
            capture.close()
    counted = f"{', '.join(names)}{means}"
    if not lacks:
        return Line(True, "agent", f"guest rows, and netflow of {counted}")
    would = f"; it would count {counted}" if names else ""
    found = without_capture(*lacks) + would
    return Line(True, "agent", found, "; ".join(lack.remedy for lack in lacks), warn=True)


def watch_line(folder: Path, *, is_usual: bool, missing: Sequence[str]) -> Line:
    """Return whether ``watch`` could run a bundle, which is opened as ``watch`` does.

    Parameters
    ----------
    folder : the bundle.
    is_usual : whether it is only where a bundle would be: nobody named it.
    missing : libraries of the extra `live` that are not installed.
    """
    if missing:
        found = f"missing {', '.join(missing)}"
        return Line(True, "watch", found, "pip install 'cis490_pipeline[live]'", warn=True)
    if is_usual and not folder.exists():
        advice = f"train with cis490 run, then: cis490 bundle {folder}"
        return Line(True, "watch", f"no bundle at {folder}", advice, warn=True)
    # Imports ONNX Runtime.
    from cis490_pipeline.cli.devices.live import leading_model
    from cis490_pipeline.live.bundle import load_bundle

    try:
        loaded = load_bundle(folder).loaded
    except (PipelineError, OSError) as error:
        return Line(False, "watch", str(error), f"rebuild it: cis490 bundle {folder}")
    lead = leading_model(loaded)
    if any(model.name == lead and model.alarm is None for model in loaded.models):
        advice = f"evaluate it, then bundle again: cis490 evaluate; cis490 bundle {folder}"
        return Line(False, "watch", f"{folder}: {lead} leads and has no alarm", advice)
    return Line(True, "watch", f"{folder}: {lead} decides, of {len(loaded.models)} in all")


def clock_line(is_synchronised: Callable[[], bool] = clock_is_synchronised) -> Line:
    """Return whether the times of rows and recordings can be trusted."""
    if is_synchronised():
        return Line(True, "clock", "synchronised")
    found = "not synchronised: the times of rows and of recordings may be off"
    return Line(True, "clock", found, "timedatectl set-ntp true", warn=True)
