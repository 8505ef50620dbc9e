"""The preload of steps that train, score and draw; ``preload`` says what must not happen here.

Not ONNX Runtime: it starts a thread when it is imported.
"""

import gc

from cis490_pipeline.domain import Architecture
from cis490_pipeline.models.registry import model_class

for architecture in Architecture:
    model_class(architecture)
gc.freeze()
