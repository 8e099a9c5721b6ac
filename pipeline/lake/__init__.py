"""The dataset on disk: its configuration, its plan, what is settled, what is pending, its tables."""
