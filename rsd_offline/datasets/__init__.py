"""Frames on disk: the embedded world's own format and readers of public datasets."""
