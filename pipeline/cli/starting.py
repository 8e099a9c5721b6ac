"""The first thing of ``vidlake`` that runs: it says that something happens, and then imports what does it.

Click, Arrow, and for some commands Ray and torch take seconds until the first of them can say a word; a terminal that
stays empty for so long looks like one that hangs. This module therefore imports next to nothing.
"""

import sys

# What each of these does first, once it has been understood.
_FIRST_STEPS = {
    "extract": "starting Ray, loading the model, listing the input",
    "retry": "starting Ray, listing what failed",
    "plan": "starting Ray, listing the input",
    "shots": "starting Ray, loading the model, listing the input",
    "finetune": "starting Ray, listing the input",
    "predict": "starting Ray, looking for frames without a prediction",
    "bench": "loading the model",
}
_OF_HELP = ("-h", "--help")


def main() -> None:
    """Run ``vidlake`` and leave with its exit status."""
    line = first_line(sys.argv[1:], is_terminal=sys.stderr is not None and sys.stderr.isatty())
    if line is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    from pipeline.cli.main import main as run

    run()


def first_line(words: list[str], *, is_terminal: bool) -> str | None:
    """What a command says before it knows anything, on a terminal; a file or a pipe gets what there is to tell."""
    if not is_terminal or not words or any(word in _OF_HELP for word in words):
        return None
    step = _FIRST_STEPS.get(words[0])
    return None if step is None else f"vidlake {words[0]}: {step}"
