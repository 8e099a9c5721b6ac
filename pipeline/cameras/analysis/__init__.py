"""What moves, what it is, where it goes: from pictures to events."""
