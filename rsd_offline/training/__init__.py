"""Training of the planner: targets, batches, the loop and its DAgger rounds."""
