"""Compute kernels of the network."""
