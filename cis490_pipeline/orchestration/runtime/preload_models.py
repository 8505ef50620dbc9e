"""The preload of steps that train, score and draw; ``preload`` says what must not happen here.

Not ONNX Runtime: it starts a thread when it is imported.
"""

import gc

import onnx
import scipy.optimize
import scipy.stats
import sklearn.linear_model
import torch._dynamo  # the first optimizer imports it, which takes a second
import xgboost

import cis490_pipeline.models.export.onnx_trees
import cis490_pipeline.orchestration.runtime.preload
import cis490_pipeline.reporting.figures
from cis490_pipeline.domain import Architecture
from cis490_pipeline.models.registry import model_class

for architecture in Architecture:
    model_class(architecture)
gc.freeze()
