"""What a video is and where it can be cut: every cut is proven before it is used."""
