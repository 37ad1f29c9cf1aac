"""Everything that moves or can be hit, apart from the ego."""
