"""The page that compares Soniq with other queues says what a run has measured, and nothing else."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.benchmarks.queues import page
from tests.benchmarks.queues.catalogue import (
    MEASUREMENTS,
    QUEUES,
    SHOWN,
    Entry,
    Measurement,
    jobs_of,
)
from tests.benchmarks.queues.plot import svg
from tests.benchmarks.queues.report import terminal
from tests.benchmarks.queues.results import Results
from tests.docs.tables import place

SVG = "{http://www.w3.org/2000/svg}"
SHOWN_BY_NAME = {shown.name: shown for shown in SHOWN}


def measured() -> Results:
    """Two queues in three rounds; Oban was not there, and Celery failed once."""
    results = Results({"date": "today"}, {"soniq": "1.0", "celery": "2.0"}, {"oban": "no Python"})
    for soniq, celery in ((1000.0, 250.0), (1200.0, 300.0), (800.0, 200.0)):
        results.add("process", "soniq", 500, [soniq])
        results.add("process", "celery", 100, [celery])
    results.add("pick-up", "soniq", 3, [1.0, 2.0, 30.0])
    results.add("pick-up", "celery", 3, [4.0, 5.0, 60.0])
    results.add("one", "soniq", 10, [70.0])
    results.add("one", "celery", 10, [90.0])
    results.fail("one", "celery", "no broker")
    return results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the page."""
    (tmp_path / page.PAGE).write_bytes((page.FOLDER / page.PAGE).read_bytes())
    return tmp_path


def test_the_page_shows_the_data_that_lie_beside_it() -> None:
    data = page.FOLDER / page.DATA
    results = Results.read(data) if data.exists() else None
    for name, text in page.parts(results).items():
        assert place(page.FOLDER / page.PAGE, name)[1] == text, (
            "run: make bench-others ARGS=--write"
        )
    plots = {each.name: each.read_text() for each in page.FOLDER.glob("comparison-*.svg")}
    assert plots == (page.plots(results) if results else {})


def test_a_table_has_median_lowest_highest_and_the_ratio_to_soniq(folder: Path) -> None:
    page.write(measured(), folder)
    figures = place(folder / page.PAGE, "figures")[1]
    assert "| soniq | 500 | 1,000 | 800 | 1,200 | 1.00 |" in figures
    assert "| celery | 100 | 250 | 200 | 300 | 0.25 |" in figures


def test_a_percentile_is_that_of_each_round() -> None:
    soniq, celery = measured().rows(SHOWN_BY_NAME["pick-up-p50"])
    assert (soniq.median, celery.median, celery.ratio) == (2.0, 5.0, 2.5)
    worst = measured().rows(SHOWN_BY_NAME["pick-up-p95"])[0]
    assert 2.0 < worst.median <= 30.0


def test_the_page_says_who_is_missing_and_why(folder: Path) -> None:
    page.write(measured(), folder)
    figures = place(folder / page.PAGE, "figures")[1]
    assert "- oban is left out: no Python" in figures
    assert "without celery, which failed: no broker" in figures
    assert "without celery, it sends each job by itself" in figures
    assert "| celery | 10 |" not in figures, "a queue that failed has no figure"
    assert "without celery, which failed: no broker" in terminal(measured())


def test_the_data_that_are_written_can_be_read_again(folder: Path) -> None:
    page.write(measured(), folder)
    assert Results.read(folder / page.DATA) == measured()


def test_a_run_replaces_the_plots_of_the_one_before(folder: Path) -> None:
    (folder / "comparison-old.svg").write_text("")
    page.write(measured(), folder)
    written = {each.name for each in folder.glob("*.svg")}
    assert written == {
        f"comparison-{name}.svg" for name in ("one", "process", "pick-up-p50", "pick-up-p95")
    }
    for name in written:
        assert f"({name})" in (folder / page.PAGE).read_text()


def test_bars_are_as_long_as_the_medians() -> None:
    picture = ElementTree.fromstring(
        svg("a < b", "jobs/s", measured().rows(SHOWN_BY_NAME["process"]))
    )
    bars = [float(each.attrib["width"]) for each in picture.iter(f"{SVG}rect")]
    assert bars[0] == pytest.approx(4 * bars[1], abs=0.2)
    texts = [each.text for each in picture.iter(f"{SVG}text")]
    assert texts == ["a < b", "jobs/s, more is better", "soniq", "1,000", "celery", "250"]


def test_slow_queues_have_fewer_jobs_but_never_none() -> None:
    slow = next(entry for entry in QUEUES if entry.name == "procrastinate")
    process = next(each for each in MEASUREMENTS if each.name == "process")
    assert jobs_of(slow, process, 30_000) == 3_000
    assert jobs_of(slow, process, 5) == 1
    assert jobs_of(QUEUES[0], Measurement("one", 1_000), 30_000) == 1_000


@pytest.mark.parametrize("entry", QUEUES, ids=lambda entry: entry.name)
def test_each_queue_has_its_file_and_known_measurements(entry: Entry) -> None:
    folder = Path(page.__file__).parent
    assert any((folder / f"{entry.module}{ending}").exists() for ending in (".py", ".mjs"))
    known = {each.name for each in MEASUREMENTS}
    assert {*entry.fewer, *entry.lacks} <= known
