"""What a person is shown of a lake: its videos, what is known of each over time, and the picture of a sample."""
