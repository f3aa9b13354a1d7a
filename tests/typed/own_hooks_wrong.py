"""Mistakes with hooks of a plugin's own, each with what mypy and pyright must say of its line: `test_expected.py`
compares. Nothing imports this.
"""

# mypy: disable-error-code="untyped-decorator"

from soniq import Soniq
from tests.typed.own_hooks_ok import chimes_rang, chimes_tune


@chimes_rang.impl  # mypy: arg-type; pyright: reportArgumentType
def named_otherwise(tower: str, strokes: int) -> None: ...


@chimes_tune.impl  # mypy: arg-type; pyright: reportArgumentType
def returns_otherwise(tower: str) -> int:
    return 1


async def calls_otherwise(app: Soniq) -> None:
    await chimes_rang.call(app, "north")  # mypy: call-arg; pyright: reportCallIssue
    await chimes_tune.call(app, 3)  # mypy: arg-type; pyright: reportArgumentType
    app.plugin("listener")  # mypy: arg-type; pyright: reportArgumentType

    @app.hook(chimes_tune)  # mypy: arg-type; pyright: reportArgumentType
    async def theirs(tower: int) -> str:
        return str(tower)
