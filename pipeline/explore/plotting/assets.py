"""The files that a browser needs to draw charts: inlined in a report, served beside the page."""

from importlib.resources import files

PLOT_SCRIPT = "vendor/uPlot.iife.min.js"
"""A classic script, which defines ``uPlot``."""
PLOT_STYLE = "vendor/uPlot.min.css"
CHARTS = "charts.js"
"""A module with our code around it."""
THEME = "theme.css"
"""Colours and shapes of the report and of the page, light and dark."""

SERVED = (PLOT_SCRIPT, PLOT_STYLE, CHARTS, THEME)


def asset(name: str) -> str:
    """The text of one of these files."""
    return files("pipeline.explore.plotting").joinpath(name).read_text(encoding="utf-8")
