"""Checkpoint files: format, digests, verification and ONNX sessions; no torch, no XGBoost."""
