"""What is read from the BEV: objects, map, motion, the plan, risk."""
