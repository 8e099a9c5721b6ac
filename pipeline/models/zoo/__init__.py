"""Where networks come from, a library a file."""
