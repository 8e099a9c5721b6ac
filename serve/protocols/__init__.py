"""The contracts that the server keeps, one a module."""
