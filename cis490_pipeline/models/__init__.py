"""The six model families behind one interface, and their export to ONNX."""
