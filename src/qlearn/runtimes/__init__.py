"""Other runtimes' integers, and the list of all known arithmetics (Chapter 12, and Find my wrong integer).

``onnxruntime`` and ``litert`` have those runtimes' operators by their own names. ``known`` lists, for an operator,
every arithmetic that may have given somebody's integers: PyTorch's, the mistakes that people make, the runtimes'.
"""
