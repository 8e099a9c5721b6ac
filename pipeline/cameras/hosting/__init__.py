"""One stream: connected and reconnected, kept in sessions, counted slot by slot, committed."""
