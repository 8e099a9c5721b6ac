"""When a line is crossed, a zone entered, a label changed: the same for what comes in now and for what is stored."""
