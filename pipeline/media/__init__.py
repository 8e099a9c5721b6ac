"""Video in, upright RGB pictures out: the sole home of av."""
