"""Evaluation: closed-loop drives and the public metrics."""
