"""A trained model as files: format, digests, refusals, and ONNX sessions; no torch, no XGBoost."""
