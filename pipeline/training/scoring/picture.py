"""The confusion matrix as a picture: the same numbers give the same bytes."""

import io
import logging
import warnings

import numpy as np

_MOST_WRITTEN = 20
"""Classes: of more, the counts in the fields would not be read."""
_MOST_NAMED = 60
_NAME_LENGTH = 24
_OF_SEVERAL = ("rightly not given", "wrongly given", "wrongly not given", "rightly given")


def confusion_png(
    confusion: tuple[tuple[int, ...], ...], labels: tuple[str, ...], *, title: str, is_multi_label: bool
) -> bytes:
    """Draw a confusion matrix as ``Scores`` has it: colours are shares of a row, numbers are units."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would say that it looks for fonts
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(confusion, np.float64)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [_short(label) for label in labels]
    columns = list(_OF_SEVERAL) if is_multi_label else names
    side = min(24.0, 2.5 + 0.5 * len(labels))
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        warnings.simplefilter("ignore")  # a label in a script that the font lacks
        figure = Figure(figsize=(side + 1.5, side), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_title(_short(title, length=60), parse_math=False)
        axes.set_ylabel("label")
        axes.set_xlabel("decision" if is_multi_label else "said")
        if len(names) <= _MOST_NAMED:
            axes.set_yticks(range(len(names)), names, parse_math=False)
            axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", parse_math=False)
        if len(names) <= _MOST_WRITTEN:
            for row, column in np.ndindex(counts.shape):
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = f"{int(counts[row, column])}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _short(text: str, *, length: int = _NAME_LENGTH) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
