"""Live streams: each is pulled, analysed, embedded by a callable that its host hands over, and written to the lake."""
