"""The streams of the server: held once for all replicas, which embed their pictures and answer for them."""
