"""Builds what is published: each package as an sdist, and as a wheel made from that sdist, checked
as a registry does.

python .ci/release.py address Source=https://... Issues=https://...  # into every package
python .ci/release.py build                                               # into dist/
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
URLS = re.compile(r"^\[project\.urls\]\n(?:.+\n)*\n?", re.MULTILINE)
LABEL_AND_URL = re.compile(r"[A-Za-z]{1,32}=https?://[^\s\"\\]+")


def packages() -> Iterator[Path]:
    """The folders of what is published."""
    yield ROOT / "soniq_core"
    yield from sorted(project.parent for project in ROOT.glob("plugins/*/pyproject.toml"))


def urls(package: Path) -> Mapping[str, str]:
    """The addresses in the metadata of a package."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: Mapping[str, str] = project.get("urls", {})
    return found


def set_address(pairs: list[str]) -> None:
    """Write the addresses, each `Label=URL`, into every package, in the place of those that it
    has.
    """
    wrong = [pair for pair in pairs if not LABEL_AND_URL.fullmatch(pair)]
    if wrong or not pairs:
        sys.exit(
            "give addresses as Label=https://..., such as Source=https://...; got"
            f" {wrong or 'none'}"
        )
    lines = ['{} = "{}"'.format(*pair.split("=", 1)) for pair in pairs]
    table = "\n".join(["[project.urls]", *lines, "", ""])

    for package in packages():
        file = package / "pyproject.toml"
        text = URLS.sub("", file.read_text(encoding="utf-8"))
        before, heading, after = text.partition("[tool.hatch.build.targets.wheel]")
        file.write_text(before + table + heading + after, encoding="utf-8")


def build(folder: Path) -> None:
    """Build and check them all. Ends the program where one has no address, or does not pass."""
    without = [package.name for package in packages() if not urls(package)]
    if without:
        sys.exit(
            f"no address in {', '.join(without)}: python .ci/release.py address Source=https://..."
        )
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty: what is in it would be published, too")

    for package in packages():
        _python("hatchling", "build", "--directory", str(folder), "--target", "sdist", cwd=package)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    sdists = map(str, sorted(folder.glob("*.tar.gz")))
    _python("pip", "wheel", *options, "--wheel-dir", str(folder), *sdists)
    _python("twine", "check", "--strict", *map(str, sorted(folder.iterdir())))


def _python(*words: str, cwd: Path = ROOT) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=cwd, check=False)  # noqa: S603 - words of this file
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["address", *pairs]:
            set_address(pairs)
        case ["build"]:
            build(ROOT / "dist")
        case ["build", given]:
            build(Path(given).absolute())
        case _:
            sys.exit(__doc__)
