"""vidlake's batch side, and everything that batch and live share."""

__version__ = "0.1.0"
