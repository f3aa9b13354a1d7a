"""Every Python block of the documentation runs, on a real PostgreSQL, and prints what it says that
it prints.

The blocks of a page share a name space, in order. A block may await at its top level, as in `python
-m asyncio`. A comment `# -> text` after a `print` is what it prints.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from soniq import Soniq

from .pages import FILE, NO_RUN, PAGES, Block, blocks, name


def _runs(block: Block) -> bool:
    """Whether a block runs here: not if it says so, and not if it is a file, which test_tutorial.py
    runs.
    """
    return NO_RUN not in block.words and not any(word.startswith(FILE) for word in block.words)


RUNNABLE = [page for page in PAGES if any(_runs(block) for block in blocks(page, "python"))]
SHOWN = re.compile(r"# -> (.*)$", re.MULTILINE)


@pytest.fixture
async def environment(
    database_url: str,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`Soniq()` and SONIQ_DATABASE_URL lead to this test's schema; tables that a page makes go into
    one beside it.
    """
    await connection.execute(f"create schema {schema}_page")
    separator = "&" if "?" in database_url else "?"
    monkeypatch.setenv("SONIQ_DATABASE_URL", f"{database_url}{separator}search_path={schema}_page")
    monkeypatch.setenv("SONIQ_SCHEMA", schema)


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
@pytest.mark.usefixtures("environment")
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(page.stem.replace("-", "_").lower())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    opened: dict[int, Soniq | asyncpg.Connection[asyncpg.Record]] = {}
    with asyncio.Runner() as runner:
        try:
            for block in filter(_runs, blocks(page, "python")):
                shown = _run(block, page, module.__dict__, runner)
                opened |= {
                    id(v): v
                    for v in module.__dict__.values()
                    if isinstance(v, Soniq | asyncpg.Connection)
                }
                expected = SHOWN.findall(block.text)
                assert not expected or shown == expected, f"{name(page)}:{block.line}"
        finally:
            for each in opened.values():
                runner.run(each.close())


def test_few_blocks_do_not_run() -> None:
    left_out = [
        name(page) for page in PAGES for block in blocks(page, "python") if NO_RUN in block.words
    ]
    assert len(left_out) <= 3, left_out


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```python\nimport asyncio\n\nawait asyncio.sleep(0)\nassert 1 == 2\n```\n"
    )
    (block,) = blocks(page, "python")
    with asyncio.Runner() as runner, pytest.raises(AssertionError):
        _run(block, page, {"__name__": "page"}, runner)


def _run(block: Block, page: Path, space: dict[str, Any], runner: asyncio.Runner) -> list[str]:
    """Run a block as its page's; the lines it printed."""
    tree = ast.increment_lineno(ast.parse(block.text), block.line - 1)
    code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, space))
        else:
            exec(code, space)
    return printed.getvalue().splitlines()
