"""Training losses of the planner."""
