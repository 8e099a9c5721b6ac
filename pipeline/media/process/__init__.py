"""The decoder's child process, which may crash, hang or balloon, and the parent that kills it."""
