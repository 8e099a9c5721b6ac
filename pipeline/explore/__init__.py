"""Looking into a lake: find a moment, see what runs did, read it where people already work."""
