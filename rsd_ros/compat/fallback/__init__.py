"""Small implementations of the few calls we make, under the names and signatures of the real packages."""
