"""The samples of a segment, decoded as a sequential pass decodes them."""
