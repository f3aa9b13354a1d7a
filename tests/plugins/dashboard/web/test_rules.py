"""Rules that all pages keep, read in the files that they are made of."""

import gzip
import re
from importlib.resources import files

import pytest

WEB = files("soniq_dashboard.web")
TEMPLATES = {each.name: each.read_text() for each in (WEB / "templates").iterdir()}
STATIC = {each.name: each.read_bytes() for each in (WEB / "static").iterdir()}
MODULES = {
    each.name: each.read_text()
    for folder in (WEB, WEB / "pages")
    for each in folder.iterdir()
    if each.name.endswith(".py")
}


def test_html_is_made_by_templates_but_for_times_and_shapes() -> None:
    assert {name for name, text in MODULES.items() if "Markup" in text} == {"render.py"}
    assert {name for name, text in TEMPLATES.items() if re.search(r"\|\s*shape\b", text)} == {
        "parts.html"
    }
    assert not [
        name for name, text in TEMPLATES.items() if re.search(r"\|\s*safe\b|autoescape", text)
    ]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_nothing_is_inline_and_nothing_is_from_elsewhere(name: str) -> None:
    text = TEMPLATES[name]
    assert not re.search(r"\son\w+=|\sstyle=|<style|<iframe|<script(?! src=)", text)
    assert not re.search(r"\b(?<!data-)(?:src|href|action)=\"(?!\{\{|#)", text)


def test_the_script_makes_no_html_of_texts_and_evaluates_nothing() -> None:
    script = STATIC["dashboard.js"].decode()
    assert not re.search(r"innerHTML\s*=[^=]|outerHTML|insertAdjacentHTML|document\.write", script)
    assert not re.search(r"\beval\b|new Function|setTimeout\(['\"]", script)
    assert not re.search(r"https?://", script)


def test_what_each_page_loads_is_small() -> None:
    assert sum(len(gzip.compress(each)) for each in STATIC.values()) < 40_000
