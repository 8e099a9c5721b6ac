"""The Open Inference Protocol (KServe v2), with its binary tensors."""
