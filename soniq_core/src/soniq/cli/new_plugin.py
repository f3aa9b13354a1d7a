"""`soniq new-plugin`: a package to begin a plugin with."""

import re
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option
from soniq.cli.output import Failure, as_json
from soniq.hooks.manager import GROUP, RESERVED
from soniq.started import core_version

SUFFIX = ".tmpl"
NEXT = """\
wrote {count} files to {folder}; it works as it is, and logs jobs that take long. Next:

  cd {folder}
  python -m pip install --editable '.[test]'
  python -m pytest
  soniq plugins

Then make src/{module}/plugin.py your own.\
"""


def plugin_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The callback of a parameter that is the name of a new plugin."""
    if value.startswith("soniq-"):
        raise click.BadParameter(f"the name is that of the plugin, and soniq- comes by itself: {value[6:] or 'NAME'}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value) or len(value) > 40:
        raise click.BadParameter(f"{value!r}: lower-case letters and digits, with single hyphens between, at most 40")
    if value in ("core", *RESERVED, *(own.name for own in Soniq(discover=False).load_plugins().plugins)):
        raise click.BadParameter(f"{value!r} is taken by Soniq itself")
    for point in entry_points(group=GROUP, name=value):
        raise click.BadParameter(f"a plugin named {value!r} is installed, from {point.dist and point.dist.name}")
    return value


@click.command(epilog=EXIT_CODES)
@click.argument("name", callback=plugin_name)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to write it. Default: soniq-NAME, here. It must not exist."
)
@json_option
def new_plugin(name: str, folder: Path | None, as_json_: bool) -> None:
    """Write a new plugin: a package with a test that passes.

    NAME is what SONIQ_PLUGINS calls it; its distribution is soniq-NAME.
    """
    folder = folder or Path(f"soniq-{name}")
    module = f"soniq_{name.replace('-', '_')}"
    class_name = "".join(part.capitalize() for part in name.split("-")) + "Plugin"
    words = {
        "name": name,
        "module": module,
        "class_name": class_name,
        "names": ", ".join(sorted([class_name, "Quiet"])),
        "variable": f"{module.upper()}_SECONDS",
        "versions": _versions(core_version()),
    }
    try:
        folder.mkdir(parents=True)
        written = _write(files("soniq.cli") / "template", folder, words)
    except FileExistsError as error:
        raise Failure(f"{folder} exists already; --folder names another") from error
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror}") from error
    made = {"folder": str(folder), "module": module, "files": written}
    click.echo(as_json(made) if as_json_ else NEXT.format(count=written, folder=folder, module=module))


def _write(source: Traversable, folder: Path, words: dict[str, str]) -> int:
    """Write the files of the template, with the words put in; how many."""
    written = 0
    for entry in source.iterdir():
        if entry.is_dir():
            inner = folder / entry.name / words["module"] if entry.name == "src" else folder / entry.name
            inner.mkdir(parents=True)
            written += _write(entry, inner, words)
        elif entry.name.endswith(SUFFIX):
            name = entry.name.removesuffix(SUFFIX).replace("gitignore", ".gitignore")
            text = Template(entry.read_text(encoding="utf-8")).substitute(words)
            (folder / name).write_text(text, encoding="utf-8")
            written += 1
    return written


def _versions(core: str) -> str:
    """The versions of soniq-core that a plugin made with this one works with: `>=0.1,<0.2`, from 1.0 on `>=1.2,<2`."""
    match = re.match(r"(\d+)\.(\d+)", core)
    if match is None:
        return ""
    major, minor = int(match[1]), int(match[2])
    return f">={major}.{minor},<" + (f"0.{minor + 1}" if major == 0 else f"{major + 1}")
