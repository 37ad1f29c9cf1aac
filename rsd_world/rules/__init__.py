"""What the ego is blamed for, and how a drive ends."""
