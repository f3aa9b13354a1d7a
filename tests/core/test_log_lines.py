"""Each record of Soniq's loggers, and of its plugins', is one line, whatever users write."""

import ast
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from soniq import Soniq, SoniqError, hookimpl
from soniq.logs import OWN, set_up
from tests.conftest import MakeApp

ROOT = Path(__file__).parents[2]
FORGED = "x\nERROR soniq: all is lost\r\x1b[31m\u2028y"
CALLS = ("debug", "info", "warning", "error", "exception", "critical", "log")
NOT_ITS_OWN = {
    "soniq_core/src/soniq/cli/logs.py",
    "soniq_core/src/soniq/logs.py",
    "plugins/testing/src/soniq_testing/contract.py",
}
"""Files that ask for loggers to set them up."""
OF_HANDLERS = "soniq.job"


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the core and of its plugins, by their paths."""
    for path in (*ROOT.glob("soniq_core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in NOT_ITS_OWN:
            yield name, ast.parse(path.read_text())


def test_each_logger_is_one_whose_records_are_kept_in_lines() -> None:
    found = {}
    for name, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                found[name] = ast.literal_eval(node.args[0])
    assert len(found) > 20
    for name, logger in found.items():
        plugin = name.split("/")[1] if name.startswith("plugins/") else None
        known = (*OWN, OF_HANDLERS) if plugin is None else (f"soniq.{plugin}",)
        assert logger in known, name


def test_each_message_is_written_in_the_code_and_what_users_write_is_an_argument() -> None:
    calls = 0
    for name, module in sources():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in CALLS or ast.unparse(node.func.value) not in ("log", "logger"):
                continue
            calls += 1
            message = node.args[1 if node.func.attr == "log" else 0]
            branches = (
                [message.body, message.orelse] if isinstance(message, ast.IfExp) else [message]
            )
            for each in branches:
                assert isinstance(each, ast.Constant), f"{name}:{node.lineno}"
                assert str(each.value).isprintable(), f"{name}:{node.lineno}"
    assert calls > 60


@pytest.mark.parametrize("name", [*OWN, "soniq.of-a-plugin"])
def test_arguments_of_any_kind_are_one_line(name: str, caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        def __repr__(self) -> str:
            return FORGED

    if name not in OWN:
        set_up(name)
    log = logging.getLogger(name)
    log.warning("%s and %r", FORGED, FORGED)
    log.warning("%s and %r", SoniqError(FORGED), Odd())
    log.warning("%s, %.1f, %d", [FORGED], 1.5, 2)
    for record in caplog.records:
        message = record.getMessage()
        assert message.isprintable()
        assert "all is lost" in message
    assert caplog.messages[-1].endswith(", 1.5, 2")


async def test_a_plugin_logs_in_lines_once_it_is_loaded(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    class Speaks:
        name = "speaks"

        @hookimpl
        async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
            logging.getLogger("soniq.speaks").warning("begins: %s", FORGED)
            yield

    app = make_app(plugins=[Speaks()])
    await app.start()
    assert "begins: x ERROR soniq: all is lost \\x1b[31m y" in caplog.messages
