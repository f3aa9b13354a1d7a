"""The statements, one in each file of `queries/`, with the schema's name put in."""

from functools import cache
from importlib.resources import files

KEY_WAIT = "200ms"
"""How long a shared statement waits for a dedup key that an open transaction holds, before its jobs
go on one by one.
"""


class Statements:
    """The statements for one schema: `sql["settle_and_claim"]` is the text of
    queries/settle_and_claim.sql.
    """

    def __init__(self, schema: str) -> None:
        self._quoted = quote(schema)
        self._texts: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = _statement(name).replace("{schema}", self._quoted)
        return text


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def core_migrations() -> list[tuple[int, str]]:
    """The core's own migrations: number and text, in order."""
    folder = files("soniq.postgres") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), _read(f"migrations/{name}")) for name in names]


@cache
def _statement(name: str) -> str:
    """A statement without what is said about it, and with its name at the end, for the server's
    logs and tracers.
    """
    lines = _read(f"queries/{name}.sql").rstrip().removesuffix(";").split("\n")
    first = next(place for place, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join([*lines[first:], f"/* soniq: {name} */"])


@cache
def _read(path: str) -> str:
    return (files("soniq.postgres") / path).read_text(encoding="utf-8")
