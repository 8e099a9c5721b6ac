"""Charts that a browser draws: the library and our code around it, for the report and for the server's page."""
