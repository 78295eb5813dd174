"""What comes after quantized tensors, and besides them (Chapter 12): other runtimes' integers, and a list of arithmetics.

``onnxruntime`` and ``litert`` have those runtimes' operators by their own names; ``known`` lists, for an operator, every
arithmetic that gives somebody's integers: PyTorch's, the mistakes that people make, the runtimes'.
"""
