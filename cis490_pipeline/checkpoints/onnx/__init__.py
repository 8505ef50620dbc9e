"""ONNX files: parsed within bounds, checked, tried, run."""
