"""What comes in now: cameras are pulled, looked at, embedded, and written into the lake of the archive."""
