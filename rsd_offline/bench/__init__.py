"""What the network costs, measured."""
