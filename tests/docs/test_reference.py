"""The reference is complete and says what the code says; links lead somewhere."""

import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import msgspec
import pytest

import soniq
from soniq import plugin
from soniq.hooks.hook import Hook
from soniq.hooks.specs import HOOKS
from soniq.job import JobContext
from soniq.job.options import OPTION_NAMES, EnqueueOptions, JobOptions
from soniq.status import Attempt, JobDetail, Status

from .pages import DOCS, LINK, PAGES, name, prose, section
from .tables import TABLES, place

REFERENCE = DOCS / "reference"


@pytest.mark.parametrize(("page", "table"), TABLES, ids=[table for _, table in TABLES])
def test_what_is_made_from_docstrings_is_up_to_date(page: Path, table: str) -> None:
    assert place(page, table)[1] == TABLES[page, table](), "run: python -m tests.docs.tables"


def test_every_hook_is_documented_with_its_arguments() -> None:
    page = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    documented = re.findall(
        r"^\| `(\w+)\(([^)]*)\)`( \*)?[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", page, re.MULTILINE
    )
    assert {
        hook: tuple(filter(None, arguments.split(", "))) for hook, arguments, *_ in documented
    } == {hook.name: hook.arguments for hook in HOOKS.values()}
    assert {hook: (bool(star), kind.strip()) for hook, _, star, kind, *_ in documented} == {
        hook.name: (hook.def_only, hook.kind) for hook in HOOKS.values()
    }
    assert all(when.strip() and error.strip() for *_, when, error in documented)


@pytest.mark.parametrize("hook", HOOKS.values(), ids=list(HOOKS))
def test_every_hook_has_a_section_that_names_its_arguments(hook: Hook) -> None:
    signature = section(REFERENCE / "hooks.md", f"### {hook.name}").partition("    def ")[2]
    assert signature.startswith(f"{hook.name}(")
    named = signature.partition(") -> ")[0].partition("(")[2]
    assert re.findall(r"(\w+): ", named) == list(hook.arguments)


def test_every_option_of_a_job_is_documented() -> None:
    documented = _first_cells(section(REFERENCE / "jobs.md", "## Define"))
    assert documented == {"name", *JobOptions.__struct_fields__}


def test_every_option_of_an_enqueue_is_documented() -> None:
    documented = _first_cells(section(REFERENCE / "jobs.md", "## Enqueue"))
    assert documented == OPTION_NAMES - {"retry"}
    assert documented == set(EnqueueOptions.__struct_fields__)


def test_the_whole_context_is_documented() -> None:
    documented = {
        each.partition("(")[0]
        for each in _first_cells(section(REFERENCE / "jobs.md", "## The context"))
    }
    public = {each for each in dir(JobContext) if not each.startswith("_")} - {"completing"}
    assert documented == public


def test_every_status_and_every_key_is_documented() -> None:
    documented = _first_cells((REFERENCE / "status.md").read_text(encoding="utf-8"))
    keys = {*JobDetail.__annotations__, *Attempt.__annotations__}
    assert documented == {*get_args(Status), *keys}


def test_every_kind_of_outcome_is_documented() -> None:
    page = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    for field in msgspec.structs.fields(plugin.Outcome):
        assert f"`{field.name}`" in page


@pytest.mark.parametrize("door", [soniq, plugin], ids=["soniq", "soniq.plugin"])
def test_every_public_name_is_in_the_reference(door: ModuleType) -> None:
    text = section(REFERENCE / "names.md", f"## {door.__name__}")
    assert set(door.__all__) <= set(re.findall(r"`(\w+)`", text))
    assert _first_cells(text) <= set(door.__all__)


def test_every_member_of_the_app_is_in_the_reference() -> None:
    documented = _first_cells(section(REFERENCE / "names.md", "## The app"))
    app = soniq.Soniq(discover=False)
    assert documented == {name for name in dir(app) if not name.startswith("_")}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name(page)} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{name(page)} links to {target}"


def test_no_page_is_lost() -> None:
    """Every page can be reached from the README."""
    reached: set[Path] = set()
    waiting = [PAGES[0]]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += [
                (page.parent / t.partition("#")[0]).resolve()
                for t in LINK.findall(prose(page))
                if "://" not in t
            ]
    assert [name(page) for page in PAGES if page.is_relative_to(DOCS) and page not in reached] == []


def _first_cells(text: str) -> set[str]:
    """The names in the first column of the tables in a text."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {each for cell in cells for each in re.findall(r"`([^`]+)`", cell)}


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
