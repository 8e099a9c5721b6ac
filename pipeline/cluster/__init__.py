"""A Ray cluster: start or join it, have it grow, submit a job to it."""
