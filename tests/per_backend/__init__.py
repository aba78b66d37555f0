"""Kernels, compilation, devices: whatever differs between backends."""
