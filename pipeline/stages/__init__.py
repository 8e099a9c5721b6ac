"""What happens to one video, free of Ray: batch and live call it."""
