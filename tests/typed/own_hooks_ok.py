"""Hooks of a plugin's own as they may be specified, implemented and called: neither checker reports
anything.
"""

from collections.abc import Sequence
from typing import Any, assert_type

from soniq import Soniq, hookimpl
from soniq.plugin import hookspec


@hookspec.observer
def chimes_rang(tower: str, times: int) -> None:
    """After the chimes."""


@hookspec.first_result
def chimes_tune(tower: str) -> str:  # type: ignore[empty-body] # as the core's are written
    """What they play."""


@hookspec.collected
def chimes_wishes() -> list[str]:  # type: ignore[empty-body] # as the core's are written
    """What people want to hear."""


class Chimes:
    @hookimpl
    def hookspecs(self) -> Sequence[Any]:
        return [chimes_rang, chimes_tune, chimes_wishes]


@chimes_rang.impl
async def listens(tower: str, times: int) -> None: ...


class Listener:
    @chimes_tune.impl
    def tune(self, tower: str) -> str:
        return tower

    @hookimpl(optionalhook=True)
    def chimes_rang(self, times: int) -> None: ...


async def rings(app: Soniq) -> None:
    await chimes_rang.call(app, "north", times=3)
    assert_type(await chimes_tune.call(app, "north"), str | None)
    assert_type(await chimes_wishes.call(app), list[tuple[str, list[str]]])
    for _, ask in chimes_wishes.calls(app):
        assert_type(await ask(), list[str] | None)
    assert_type(app.plugin(Listener), Listener)

    @app.hook(chimes_tune)
    async def ours(tower: str) -> str:
        return tower
