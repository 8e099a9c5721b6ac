"""The page: its files as a browser gets them, and the policy that they come with."""
