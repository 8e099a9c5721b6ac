"""What vidlake is measured against, and the commands that do it."""
