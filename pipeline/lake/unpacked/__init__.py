"""The features of each file as plain arrays on a local disk, mapped into memory; removable at any time."""
