"""plots: a growth curve as an SVG, time at the left, memory at the right, both axes logarithmic."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

COLOURS = {"backupmx": "#2f6f4f", "Postfix": "#9a6a1f"}
UNITS = {"ms": "CPU a message, ms", "MiB": "memory, MiB"}


def draw(axis: str, points: Sequence[tuple[float, Mapping[str, float]]], file: Path) -> None:
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": axis, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = pyplot.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    for panel, (unit, label) in zip(panels, UNITS.items(), strict=True):
        for who, colour in COLOURS.items():
            curve = [(x, point[f"{who} {unit}"]) for x, point in points if f"{who} {unit}" in point]
            if curve:
                panel.plot(*zip(*curve, strict=True), marker="o", markersize=3, color=colour, label=who)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel=label)
        panel.grid(alpha=0.25)
    panels[0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
