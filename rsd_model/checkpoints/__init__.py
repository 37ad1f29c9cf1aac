"""Weights: our files, public checkpoints in and out, and the proof that both compute the same."""
