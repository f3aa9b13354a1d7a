"""The page of the documentation that shows a run: docs/explanation/comparison.md."""

from pathlib import Path

from tests.benchmarks.queues.catalogue import SHOWN
from tests.benchmarks.queues.plot import svg
from tests.benchmarks.queues.report import markdown, plot_name, queues_table
from tests.benchmarks.queues.results import Results
from tests.docs.pages import DOCS
from tests.docs.tables import place

FOLDER = DOCS / "explanation"
PAGE, DATA = "comparison.md", "comparison.json"
NO_FIGURES = (
    "There are no figures in this copy of the page. `make bench-others ARGS=--write` measures on your"
    " machine, and\nwrites them here.\n"
)


def parts(results: Results | None) -> dict[str, str]:
    """What stands in each place of the page."""
    return {"queues": queues_table(), "figures": markdown(results) if results else NO_FIGURES}


def plots(results: Results) -> dict[str, str]:
    """The text of each plot, by the name of its file."""
    rows = {shown: results.rows(shown) for shown in SHOWN}
    return {
        plot_name(shown): svg(shown.title, shown.unit, found)
        for shown, found in rows.items()
        if found
    }


def write(results: Results, folder: Path = FOLDER) -> None:
    """Write tables, plots and the data; the page is there already."""
    page = folder / PAGE
    for name, text in parts(results).items():
        before, _, after = place(page, name)
        page.write_text(before + text + after, encoding="utf-8")
    for old in folder.glob("comparison-*.svg"):
        old.unlink()
    for name, text in plots(results).items():
        (folder / name).write_text(text, encoding="utf-8")
    results.write(folder / DATA)
