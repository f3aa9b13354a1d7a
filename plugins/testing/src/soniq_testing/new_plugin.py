"""`soniq new-plugin`: a package to begin a plugin with."""

import json
import re
import shlex
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, entry_points, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from urllib.parse import unquote, urlsplit

import click

from soniq import Soniq, SoniqError, hookimpl
from soniq.errors import PluginError
from soniq.plugin import as_json, json_option, load_plugins

EXIT_CODES = "Exit codes: 0 fine; 1 an error, which is on stderr; 2 wrong usage."
SUFFIX = ".tmpl"
NEXT = """\
wrote {count} files to {folder}; it works as it is, and logs jobs that take long. Next:

  cd {folder}
  python -m pip install {before}--editable '.[test]'
  python -m pytest
  soniq plugins

Then make src/{module}/plugin.py your own. Before you publish it:
its licence is MIT (LICENSE, pyproject.toml), its author {author}{missing}.\
"""


def plugin_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The callback of a parameter that is the name of a new plugin."""
    if value.startswith("soniq-"):
        raise click.BadParameter(
            f"the name is that of the plugin, and soniq- comes by itself: {value[6:] or 'NAME'}"
        )
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value) or len(value) > 40:
        raise click.BadParameter(
            f"{value!r}: lower-case letters and digits, with single hyphens between, at most 40"
        )
    if value == "core" or _is_taken(value):
        raise click.BadParameter(f"{value!r} is taken by Soniq itself")
    for point in entry_points(group="soniq", name=value):
        raise click.BadParameter(
            f"a plugin named {value!r} is installed, from {point.dist and point.dist.name}"
        )
    return value


def _is_taken(name: str) -> bool:
    """Whether an app takes no plugin of this name: it is reserved, or that of one of the core's."""
    try:
        load_plugins(Soniq(plugins=[_Named(name)], discover=False))
    except PluginError:
        return True
    return False


class _Named:
    """A plugin that is nothing but its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def settled(self) -> None: ...


class NotWritten(SoniqError):
    """The folder of the new plugin exists already, or cannot be written."""


def address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of a parameter that is where a plugin's source is."""
    if value is not None and not re.fullmatch(r"https?://[^\s\"\\]+", value):
        raise click.BadParameter(f"{value!r}: a URL that begins with https://")
    return value


@click.command(epilog=EXIT_CODES)
@click.argument("name", callback=plugin_name)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to write it. Default: soniq-NAME, here. It must not exist.",
)
@click.option("--author", help="Who made it, for the licence. Default: The soniq-NAME authors.")
@click.option("--url", callback=address, help="Where its source is, or will be.")
@json_option
def new_plugin(
    name: str, folder: Path | None, author: str | None, url: str | None, as_json_: bool
) -> None:
    """Write a new plugin: a package with a test that passes.

    NAME is what SONIQ_PLUGINS calls it; its distribution is soniq-NAME.
    """
    author = " ".join((author or "").split()) or f"The soniq-{name} authors"
    folder = folder or Path(f"soniq-{name}")
    module = f"soniq_{name.replace('-', '_')}"
    class_name = "".join(part.capitalize() for part in name.split("-")) + "Plugin"
    words = {
        "name": name,
        "module": module,
        "class_name": class_name,
        "names": ", ".join(sorted([class_name, "Quiet"])),
        "variable": f"{module.upper()}_SECONDS",
        "versions": _versions(version("soniq-core")),
        "author": author,
        "author_quoted": json.dumps(author, ensure_ascii=False),  # which TOML reads alike
        "urls": f'[project.urls]\nSource = "{url}"\n\n' if url else "",
        "year": str(datetime.now(UTC).year),
    }
    try:
        folder.mkdir(parents=True)
        written = _write(files("soniq_testing") / "template", folder, words)
    except FileExistsError as error:
        raise NotWritten(f"{folder} exists already; --folder names another") from error
    except OSError as error:
        raise NotWritten(f"{folder} cannot be written: {error.strerror}") from error
    made = {"folder": str(folder), "module": module, "files": written}
    if as_json_:
        click.echo(as_json(made))
        return
    missing = "" if url else ", and [project.urls] is missing (--url)"
    before = "".join(f"{shlex.quote(each)} " for each in _checkout())
    click.echo(
        NEXT.format(
            count=written,
            folder=folder,
            module=module,
            author=author,
            missing=missing,
            before=before,
        )
    )


def _checkout() -> list[str]:
    """What pip is to install first where this package came from a checkout, and so may be on no
    registry.
    """
    try:
        origin = json.loads(distribution("soniq-testing").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return []
    testing = Path(unquote(urlsplit(origin.get("url", "")).path))
    embedded = testing.parent / "embedded"
    core = testing.parent.parent / "soniq_core"
    if "dir_info" not in origin or not embedded.is_dir() or not core.is_dir():
        return []
    return [str(core), str(testing), str(embedded)]


def _write(source: Traversable, folder: Path, words: dict[str, str]) -> int:
    """Write the files of the template, with the words put in; how many."""
    written = 0
    for entry in source.iterdir():
        if entry.is_dir():
            inner = (
                folder / entry.name / words["module"]
                if entry.name == "src"
                else folder / entry.name
            )
            inner.mkdir(parents=True)
            written += _write(entry, inner, words)
        elif entry.name.endswith(SUFFIX):
            name = entry.name.removesuffix(SUFFIX).replace("gitignore", ".gitignore")
            text = Template(entry.read_text(encoding="utf-8")).substitute(words)
            (folder / name).write_text(text, encoding="utf-8")
            written += 1
    return written


def _versions(core: str) -> str:
    """The versions of soniq-core that a plugin made with this one works with: `>=0.1,<0.2`, from
    1.0 on `>=1.2,<2`.
    """
    match = re.match(r"(\d+)\.(\d+)", core)
    if match is None:
        return ""
    major, minor = int(match[1]), int(match[2])
    return f">={major}.{minor},<" + (f"0.{minor + 1}" if major == 0 else f"{major + 1}")
