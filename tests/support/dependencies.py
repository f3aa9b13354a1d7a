"""What packages depend on, for environments of tests: linked or packed from where it is installed,
which takes no registry and hardly any time.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackagePath, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THIS_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def link_dependencies(site: Path, *requirements: str) -> None:
    """Link into a folder of packages what these require, and what that requires itself, but nothing
    else; Soniq's own packages are left out.
    """
    for package in _closure(requirements):
        for file in _files(package):
            link = site / file
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(file.locate())))


def pack_dependencies(folder: Path, *requirements: str) -> None:
    """Put the same into a folder as wheels, for a pip that has no registry."""
    for package in _closure(requirements):
        files = [
            file
            for file in _files(package)
            if file.suffix != ".pyc" and file.name not in OF_THIS_INSTALLATION
        ]
        (about,) = {file.parts[0] for file in files if file.parts[0].endswith(".dist-info")}
        *_, tag = (package.read_text("WHEEL") or "").split("Tag: ")
        wheel = folder / f"{about.removesuffix('.dist-info')}-{tag.strip()}.whl"
        with ZipFile(wheel, "w") as archive:
            for file in files:
                archive.write(str(file.locate()), str(file))
            record = f"{about}/RECORD"
            archive.writestr(record, "".join(f"{name},,\n" for name in (*files, record)))


def _files(package: Distribution) -> Iterator[PackagePath]:
    """What it has among the packages, which its commands are not."""
    return (file for file in package.files or () if ".." not in file.parts)


def _closure(requirements: Iterable[str]) -> Iterator[Distribution]:
    """What is installed here for these, and for what it requires itself, each once."""
    waiting = list(map(Requirement, requirements))
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        package = distribution(name)
        for extra in ("", *requirement.extras):
            if f"{name}[{extra}]" not in seen:
                seen.add(f"{name}[{extra}]")
                waiting += _of(package, extra)

        if name not in seen and not name.startswith("soniq-"):
            seen.add(name)
            yield package


def _of(package: Distribution, extra: str) -> Iterator[Requirement]:
    """What it requires on this system, with this extra."""
    for requirement in map(Requirement, package.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement
