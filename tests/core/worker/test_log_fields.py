"""Each log line about a job has its fields as `extra`, so that a JSON formatter gets them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import soniq

SOURCE = Path(soniq.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
            and node.func.attr in LEVELS
        ):
            yield node


def about_a_job(call: ast.Call) -> bool:
    """Whether its message begins with a job's id, or with the words that name an attempt."""
    return any(
        (isinstance(node, ast.Constant) and str(node.value).startswith("job %s"))
        or (isinstance(node, ast.Attribute) and node.attr == "in_words")
        for argument in call.args
        for node in ast.walk(argument)
    )


def without_fields(text: str) -> list[int]:
    """The lines of the log calls about a job that have no `extra`."""
    return [
        call.lineno
        for call in log_calls(ast.parse(text))
        if about_a_job(call) and all(each.arg != "extra" for each in call.keywords)
    ]


def test_a_log_call_about_a_job_without_extra_is_found() -> None:
    text = 'log.info("job %s ended", id)\nlog.log(10, "job %s" if a else "b", id)\nlog.info("b")\n'
    text += 'log.error("%s failed", record.in_words())\nlog.error("job %s", id, extra=fields)\n'
    assert without_fields(text) == [1, 2, 4]


def test_every_log_call_about_a_job_has_its_fields_as_extra() -> None:
    files = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
    calls = [call for text in files.values() for call in log_calls(ast.parse(text))]
    assert len([call for call in calls if about_a_job(call)]) >= 10

    missing = {str(path.relative_to(SOURCE)): without_fields(text) for path, text in files.items()}
    assert {path: lines for path, lines in missing.items() if lines} == {}
