"""One module a command of `rsd`; heavy imports stay inside the functions."""
