"""How long a test waits for what comes sooner or later: only a hang is to fail it, and not a machine that is busy."""

PATIENCE_S = 300.0
