"""The page on the architecture: the files that it names are there, and the way of a job is short."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "soniq_core/src/soniq"
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
SECTION = PAGE.partition("### What to read, in this order")[2].partition("###")[0]
STEPS = re.findall(r"`([\w/]+\.py)`", SECTION.partition("| step |")[2])


def test_the_way_of_a_job_is_below_4500_lines() -> None:
    assert len(STEPS) > 20
    assert sum(len((CORE / file).read_text().splitlines()) for file in STEPS) < 4_500


def test_each_file_that_the_page_names_is_there() -> None:
    known = {path.name for path in ROOT.glob("soniq_core/src/**/*") if path.is_file()}
    known |= {path.name for path in ROOT.glob("plugins/*/src/**/*.py")}
    named = set(re.findall(r"`(?:[\w/]+/)?(\w+\.(?:py|pyi|sql))`", PAGE))
    assert len(named) > 60
    assert named <= known


def test_each_function_of_the_database_that_the_page_names_is_there() -> None:
    migrations = "".join(path.read_text() for path in CORE.glob("postgres/migrations/*.sql"))
    named = set(re.findall(r"`(\w+_1)`", PAGE))
    assert len(named) > 2
    assert named <= set(re.findall(r"create function \{schema\}\.(\w+)", migrations))
