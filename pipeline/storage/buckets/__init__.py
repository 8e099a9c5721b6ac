"""S3, Azure and Google Cloud Storage: the sole home of obstore."""
