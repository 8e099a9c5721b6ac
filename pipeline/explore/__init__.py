"""Looking into a lake: find a moment, see what runs did, read the rows where people already work."""
