"""The preload of steps that train, score and draw; ``preload`` says what must not happen here.

Not ONNX Runtime: it starts a thread when it is imported.
"""

import gc

import matplotlib.pyplot
import onnx
import sklearn.linear_model
import torch._dynamo  # noqa: F401  (the first optimizer imports it, which takes a second)
import xgboost  # noqa: F401

import cis490_pipeline.evaluation.figures
import cis490_pipeline.models.onnx_trees
import cis490_pipeline.orchestration.preload  # noqa: F401
from cis490_pipeline.domain import Architecture
from cis490_pipeline.models.registry import model_class

for architecture in Architecture:
    model_class(architecture)
gc.freeze()
