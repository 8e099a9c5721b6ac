"""Two datasets over the same videos, row by row: what is in one alone, and how far apart the features are."""
