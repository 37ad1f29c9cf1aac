"""Risk labels: where they come from, how they are stored and how far to trust them."""
