"""The process that speaks to a source: it reaches allowed addresses alone, and decodes nothing."""
