"""Scalar maths, each formula written once and inlined into every device's kernels."""
