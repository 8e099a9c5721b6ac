"""What a camera sends becomes frames and a recording, in a process of its own that may be killed at any time."""
