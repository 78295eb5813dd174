"""PyTorch's quantized integers, every last bit, in NumPy."""
