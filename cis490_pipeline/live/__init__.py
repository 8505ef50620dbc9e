"""Live inference on a device's rows: ONNX models, calibration, alarm; without torch or XGBoost."""
