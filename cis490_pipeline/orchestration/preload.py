"""What Dagster's forkserver loads once, so that each step starts by forking instead of importing.

Imports only: polars starts its threads on first use, and a process forked after that waits for
them forever. The definitions themselves use polars (a schema hashes a golden fixture), so they
are not preloaded; ``test_no_preloaded_module_starts_polars`` holds this.
"""

import dagster  # noqa: F401
import numpy  # noqa: F401
import polars  # noqa: F401
import sklearn.ensemble  # noqa: F401
import torch  # noqa: F401
import xgboost  # noqa: F401
