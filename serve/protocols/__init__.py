"""The contracts that the server keeps, one in each module."""
