"""Pictures and videos to features, free of HTTP."""
