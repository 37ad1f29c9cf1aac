"""Closed-loop scoring by the formulas of Bench2Drive 0.0.4, and a corrected variant of what is broken there."""

SCORE_VERSION = "Bench2Drive 0.0.4 formulas, embedded world"
