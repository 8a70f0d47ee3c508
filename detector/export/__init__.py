"""A model's pass over an image as a graph for other programs: export, quantization, ONNX Runtime."""
