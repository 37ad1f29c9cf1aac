"""Offline work: labelling, datasets, training and evaluation. Never runs on the car."""
