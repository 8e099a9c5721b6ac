"""An approximate index: rows sorted by what they are like, a group of features files at a time."""
