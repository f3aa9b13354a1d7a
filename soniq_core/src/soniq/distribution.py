"""The version of soniq-core, and whether the other distribution that has the import name `soniq` is
installed as well.

It imports nothing of this package: the files beside it may be the other product's.
"""

from importlib.metadata import PackageNotFoundError, distribution, version


def conflict() -> str | None:
    """What is wrong and what to do, where the distribution `soniq` is installed; else None."""
    try:
        other = distribution("soniq")
    except PackageNotFoundError:
        return None
    return (
        f"the distribution soniq {other.version} is installed beside soniq-core, and both own the"
        " import name soniq. Run: pip uninstall soniq && pip install --force-reinstall --no-deps"
        " soniq-core"
    )


def core_version() -> str:
    """The version of soniq-core."""
    try:
        return version("soniq-core")
    except PackageNotFoundError:
        return "unknown"
