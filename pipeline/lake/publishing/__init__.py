"""A file appears whole, once, and only under a lease that is held."""
