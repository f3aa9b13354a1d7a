"""The commands in the documentation exist, with the options they are shown with."""

import re
import shlex
from pathlib import Path

import click
import pytest

from soniq.cli.commands import soniq
from soniq.settings import Settings
from soniq_dashboard.commands import dashboard
from soniq_dashboard.top.command import top
from soniq_limits.commands import limits
from soniq_schedules.commands import schedules
from soniq_testing.new_plugin import new_plugin

from .pages import PAGES, ROOT, blocks, name

VARIABLES = {f"SONIQ_{field.upper()}" for field in Settings.__struct_fields__} | {
    "SONIQ_APP",
    "SONIQ_PLUGINS",
    "SONIQ_DASHBOARD_PASSWORD",
}
OF_PLUGINS = {
    "dashboard": dashboard,
    "new-plugin": new_plugin,
    "limits": limits,
    "schedules": schedules,
    "top": top,
}
"""The commands that plugins add."""
ASSIGNMENT = re.compile(r"(SONIQ_\w+)=\S*")


def commands(page: Path) -> list[list[str]]:
    """The `soniq` commands of a page, as words; what is set for one has been checked and left
    out.
    """
    found = []
    for block in blocks(page, "sh"):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            while words and (words[0] == "export" or ASSIGNMENT.fullmatch(words[0])):
                setting = words.pop(0)
                assert setting == "export" or setting.partition("=")[0] in VARIABLES, (
                    f"{name(page)}: {line}"
                )
            if words and words[0] == "soniq":
                found.append(words[1:])
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_the_commands_of_a_page_exist_with_their_options(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in commands(page):
        command = soniq.commands.get(words[0]) or OF_PLUGINS.get(words[0])
        assert command is not None, f"{name(page)}: soniq {words[0]}"
        for option in command.params:  # an app that is named need not be there
            if option.name == "app":
                monkeypatch.setattr(option, "callback", None)
        try:
            # In its place: a command keeps the help option of the first context that it sees
            parent = click.Context(soniq, **soniq.context_settings)
            command.make_context(words[0], words[1:], parent=parent)
        except click.UsageError as error:
            pytest.fail(f"{name(page)}: soniq {' '.join(words)}: {error.message}")


def test_every_command_is_in_the_readme() -> None:
    assert {words[0] for words in commands(ROOT / "README.md")} == set(soniq.commands)


def test_the_targets_of_make_in_the_documentation_exist() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets, f"{name(page)}: make {target}"
