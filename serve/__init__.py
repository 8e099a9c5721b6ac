"""The live side: Ray Serve answers with the very model of the batch job."""
