"""Which frames of a traceback are one's own, and which are folded."""

import asyncio
import json
import traceback
from collections.abc import Callable

import pytest

from soniq_dashboard.web.frames import is_library, parts


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("/srv/shop/orders.py", False),
        ("/srv/shop/lib/python_tools/orders.py", False),
        ("/home/eva/site-packages-of-ours.py", False),
        (r"C:\shop\library\orders.py", False),
        ("<stdin>", False),
        ("/srv/shop/.venv/lib/python3.11/site-packages/httpx/_client.py", True),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", True),
        ("/usr/lib/python3.13t/asyncio/tasks.py", True),
        ("/opt/lib64/python3.9/json/decoder.py", True),
        ("/usr/lib/pypy3.11/json/decoder.py", True),
        (r"C:\Python313\Lib\asyncio\tasks.py", True),
        (r"C:\shop\.venv\Lib\site-packages\httpx\_client.py", True),
        ("<frozen importlib._bootstrap>", True),
    ],
)
def test_a_file_is_of_a_library_by_its_path(path: str, library: bool) -> None:
    assert is_library(path) is library


def wrong() -> None:
    json.loads("{")


def again(n: int) -> None:
    if n:
        again(n - 1)
    else:
        wrong()


def chained() -> None:
    try:
        wrong()
    except ValueError as error:
        raise KeyError("two\nlines") from error


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(wrong))


@pytest.mark.parametrize(
    ("fail", "own", "libraries"),
    [
        (wrong, 2, 3),
        (lambda: again(8), 7, 3),  # what repeats is told in a line of its own
        (chained, 3, 3),
        (lambda: asyncio.run(grouped()), 4, 12),
    ],
    ids=["plain", "repeated", "chained", "group"],
)
def test_a_traceback_is_told_apart_and_nothing_of_it_is_lost(
    fail: Callable[[], object], own: int, libraries: int
) -> None:
    try:
        fail()
    except BaseException:
        text = traceback.format_exc()
    found = parts(text)
    assert "".join(part.text for part in found) == text
    frames = [part for part in found if part.frames]
    assert sum(part.frames for part in frames) == text.count('File "')
    assert all(part.folded is not part.own for part in frames)
    assert not any(part.folded for part in found if not part.frames)
    assert sum(part.frames for part in frames if part.own) >= own
    assert sum(part.frames for part in frames if not part.own) >= min(libraries, 3)
    for part in frames:
        assert ("json.loads(" in part.text) <= part.own


def test_what_has_no_frame_of_ones_own_is_not_folded() -> None:
    text = (
        'Traceback:\n  File "/usr/lib/python3.11/json/decoder.py", line 1, in decode\nValueError\n'
    )
    assert [(part.frames, part.own, part.folded) for part in parts(text)] == [
        (0, False, False),
        (1, False, False),
        (0, False, False),
    ]
    for other in ("", "***", {"hidden": True}, '<script>File "x", line 1\n'):
        assert "".join(part.text for part in parts(other)) == str(other)
    assert parts(None) == ()
