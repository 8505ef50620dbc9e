from collections.abc import Iterator

import pytest

from cis490_pipeline_tests.events.endpoint import Dashboard, serving


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with serving() as server:
        yield server
