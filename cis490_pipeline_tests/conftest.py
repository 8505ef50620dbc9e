import signal

import hypothesis
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline_tests.experiment.runs import SAMPLE, fast_stages

# A shell that starts tests in the background has them ignore SIGINT, and so would every process
# they start: tests of interruption need the handler a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is; tests of hangs set a deadline themselves.
hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The host split of the recorded sample, done with gbt and mlp; only to be read."""
    data = tmp_path_factory.mktemp("finished") / "data"
    workspace = Workspace(Settings(store=SAMPLE, data=data, workers=1))
    for stage in fast_stages(workspace):
        stage.ensure()
    return workspace
