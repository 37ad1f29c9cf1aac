"""Privileged drivers and teachers of the embedded world: the expert, the risk teacher, ground truth for perception."""
