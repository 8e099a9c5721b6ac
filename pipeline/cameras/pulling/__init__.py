"""One connection to a source: checked addresses, a connector that speaks to it, and a decoder that may be killed."""
