"""Phases of a device as its rows arrive: ONNX models, calibration, alarm; no torch, no XGBoost."""
