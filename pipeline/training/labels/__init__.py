"""Names that people gave to videos and to ranges of them, and which part of the learning each one is for."""
