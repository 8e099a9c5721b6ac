"""What a benchmark says while it runs."""

import time


class Progress:
    """A line for each step: how many are done, and how long it has taken."""

    def __init__(self, name: str, num_steps: int) -> None:
        self._name = name
        self._num_steps = num_steps
        self._done = 0
        self._began_s = time.monotonic()

    def step(self, text: str) -> None:
        """One more step is done."""
        self._done += 1
        minutes, seconds = divmod(round(time.monotonic() - self._began_s), 60)
        print(f"  {self._name} {self._done} of {self._num_steps}, {minutes}:{seconds:02}: {text}", flush=True)
