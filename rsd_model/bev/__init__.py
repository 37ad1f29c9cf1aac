"""From camera features to bird's-eye-view features (BEVFormer, arXiv 2203.17270)."""
