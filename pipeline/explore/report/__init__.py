"""What is in a lake and how its runs went, as figures, as a JSON document, and as one HTML file."""
