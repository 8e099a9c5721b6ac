"""Where events go beside the lake."""
