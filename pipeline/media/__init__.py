"""Video in, upright RGB pictures out, and which of them are samples: the sole home of av."""
