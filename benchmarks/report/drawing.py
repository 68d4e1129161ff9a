"""How figures are drawn and written; figures.py and beside_game.py declare which ones there are.

Everything is drawn on explicit Figure objects, without pyplot's global state, and gives the same bytes for the same
runs.
"""

import io
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.gather import Results

# Okabe and Ito's colours, told apart with any colour vision, with grey for their yellow, which is faint on white; the
# styles do the same in print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#808080")
STYLES = ("-", "--", "-.", ":")
LOOK = {"font.size": 9, "axes.titlesize": 10, "figure.titlesize": 11, "lines.linewidth": 1.5, "legend.fontsize": 9}
PANEL_INCHES = (3.9, 2.7)
LETTERS_PER_INCH = 14
"""How many letters of the legend's title fit on an inch, with room to spare."""
IQM_SUFFIX = "_iqm"
"""Of files that show interquartile means; they stand in the page's appendix."""

Legend = list[tuple[str, dict[str, Any]]]
"""(title, style) of each line."""


@dataclass(frozen=True)
class Drawable(ABC):
    """A figure's declaration: each of its files has a panel for each of its subjects."""

    name: str  # of its first file
    title: str
    appendix: bool = field(default=False, kw_only=True)  # of the page
    is_picture: ClassVar[bool] = False  # panels are pixels, kept as PNG
    most_columns: ClassVar[int] = 2  # of the legend

    @property
    def names(self) -> Sequence[str]:
        """The names of its files."""
        return [self.name]

    @property
    def labels_all(self) -> bool:
        """Whether panels may have different vertical axes."""
        return False

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether there is something to show."""
        return True

    def subjects(self, results: Results) -> Sequence[Any]:
        """Return what the panels show: the environments, unless a figure has others."""
        return results.params.run.envs

    def columns(self, subjects: Sequence[Any]) -> int:
        """Return how many panels stand side by side: three, but four as two by two."""
        return 2 if len(subjects) == 4 else min(len(subjects), 3)

    @abstractmethod
    def panel(self, results: Results, name: str, subject: Any, axes: Axes) -> None:
        """Draw a panel of the file of this name."""

    @abstractmethod
    def shows(self, results: Results, name: str, subject: Any) -> str:
        """Return a panel of the file of this name in words."""

    @abstractmethod
    def describe(self, results: Results) -> str:
        """Return the figure in words."""

    def label(self, results: Results, subject: Any) -> str:
        """Return the label of a panel's vertical axis."""
        return ""

    def legend(self, results: Results) -> Legend:
        """Return (title, style) of each line."""
        return []

    def key(self, results: Results, name: str) -> str:
        """Return what lines and bands are in the file of this name."""
        return ""

    def notes(self, results: Results) -> list[str]:
        """Return what else stands above the legend."""
        return []

    def draw(self, results: Results) -> Iterator[tuple[str, Figure]]:
        """Give (name of the file, figure) of each of its files."""
        subjects = self.subjects(results)
        columns = self.columns(subjects)
        rows = math.ceil(len(subjects) / columns)
        for name in self.names:
            figure = Figure((max(PANEL_INCHES[0] * columns, 6), PANEL_INCHES[1] * rows + 1.2), layout="constrained")
            for place, (subject, axes) in enumerate(zip(subjects, _panels(figure, rows, columns), strict=False)):
                self.panel(results, name, subject, axes)
                if place % columns == 0 or self.labels_all:
                    axes.set_ylabel(self.label(results, subject))
            for unused in figure.axes[len(subjects) :]:
                unused.remove()
            figure.suptitle(self.title)
            if entries := self.legend(results):
                legend_below(figure, entries, [self.key(results, name), *self.notes(results)], self.most_columns)
            yield name, figure

    def panels(self, results: Results, name: str) -> Iterator[tuple[str, Figure]]:
        """Give (what it shows, figure of its own) of each panel of the file of this name."""
        for subject in self.subjects(results):
            figure = Figure(PANEL_INCHES, layout="constrained")
            (axes,) = _panels(figure, 1, 1)
            self.panel(results, name, subject, axes)
            axes.set_ylabel(self.label(results, subject))
            yield self.shows(results, name, subject), figure


@dataclass(frozen=True)
class Drawn:
    """A figure that was written."""

    path: Path  # of the PNG; the SVG lies beside it
    figure: str  # name of its declaration
    title: str
    is_picture: bool
    appendix: bool
    panels: tuple[tuple[str, bytes], ...]  # title and SVG of each, PNG of a picture
    legend: Legend
    key: str

    @property
    def name(self) -> str:
        """The name of the files."""
        return self.path.stem


def save(declared: Iterable[tuple[Drawable, Results]], folder: Path) -> list[Drawn]:
    """Write figures of results as PNG and SVG, without dates, versions and random ids."""
    written = []
    for one, results in declared:
        with matplotlib.style.context(["default", LOOK]):  # whatever the reader's own matplotlibrc says
            for name, figure in one.draw(results):
                matplotlib.rcParams["svg.hashsalt"] = name
                (folder / f"{name}.png").write_bytes(as_png(figure))
                (folder / f"{name}.svg").write_bytes(_as_svg(figure))
                is_iqm = name.endswith(IQM_SUFFIX)
                as_bytes = as_png if one.is_picture else _as_svg
                written.append(
                    Drawn(
                        path=folder / f"{name}.png",
                        figure=one.name,
                        title=one.title + (" (interquartile means)" if is_iqm else ""),
                        is_picture=one.is_picture,
                        appendix=one.appendix or is_iqm,
                        panels=tuple((text, as_bytes(panel)) for text, panel in one.panels(results, name)),
                        legend=one.legend(results),
                        key=one.key(results, name),
                    )
                )
    return written


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG, without matplotlib's version."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _as_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, without date and matplotlib's version."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _panels(figure: Figure, rows: int, columns: int) -> list[Axes]:
    panels = [*figure.subplots(rows, columns, squeeze=False).ravel()]
    for panel in panels:
        panel.grid(color="0.9", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    return panels


def legend_below(figure: Figure, entries: Legend, notes: Sequence[str], most_columns: int) -> None:
    """Put a legend below the panels, in as many columns as fit, with wrapped notes above its entries."""
    handles = [figure.axes[0].plot([], [], label=label, **style)[0] for label, style in entries]
    title = "\n".join(textwrap.fill(line, int(LETTERS_PER_INCH * figure.get_figwidth())) for line in notes)
    for columns in range(most_columns, 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title, frameon=False)
        legend.get_title().set_multialignment("center")
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()


def line(place: int) -> dict[str, Any]:
    """Return the colour and the line of params.yaml's algorithm number `place`; all pairs come before one returns."""
    lap, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": STYLES[(colour + lap) % len(STYLES)]}


def line_of(results: Results, algorithm: str) -> dict[str, Any]:
    """Return an algorithm's colour and line, the same in all figures."""
    return line(results.params.run.algorithms.index(algorithm))
