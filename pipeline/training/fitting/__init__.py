"""Labelled units to the numbers of a head: the training part teaches, the validation part stops; by seed the same."""
