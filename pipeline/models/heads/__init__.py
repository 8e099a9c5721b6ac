"""Heads, features to labels: all that a server needs of one, free of Ray and scikit-learn."""
