"""From INPUT words, folders and manifests to the videos that they name."""
