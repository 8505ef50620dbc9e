"""The six model families with a common interface, and their ONNX export."""
