"""What the words of the search box mean, and that what means nothing is said."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soniq_dashboard.web.query import NotUnderstood, parsed, quoted

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ("status:dead", {"statuses": ["dead"]}),
        (
            "status:dead,cancelled queue:a,b",
            {"statuses": ["dead", "cancelled"], "queues": ["a", "b"]},
        ),
        ("name:mail.send", {"names": ["mail.send"]}),
        ("name:mail.*", {"name_prefix": "mail."}),
        ("tag:eu", {"tags": ["eu"]}),
        ("priority:-1,5", {"priorities": [-1, 5]}),
        ("worker:w key:k", {"worker_id": "w", "dedup_label": "k"}),
        ("error:ValueError", {"error_type": "ValueError"}),
        ('"no address: here"', {"error_text": "no address: here"}),
        ('queue:"of two words"', {"queues": ["of two words"]}),
        ("it's", {"error_text": "it's"}),
        ("back\\slash", {"error_text": "back\\slash"}),
        ("#7", {"error_text": "#7"}),
        ("args.customer:7", {"args": {"customer": 7}}),
        ("args.a.b:x args.a.c:true", {"args": {"a": {"b": "x", "c": True}}}),
        ('args.customer:"7"', {"args": {"customer": 7}}),
        ("args.a:NaN args.b:1e999", {"args": {"a": "NaN", "b": "1e999"}}),
        ("args.a:" + "[" * 2_000, {"args": {"a": "[" * 2_000}}),
        ("args:abc", {"args_text": "abc"}),
        ("headers.tenant:a", {"headers": {"tenant": "a"}}),
        ("created:1h", {"created": (NOW - HOUR, None)}),
        ("created:2h..1h", {"created": (NOW - 2 * HOUR, NOW - HOUR)}),
        ("finished:..1h", {"finished": (None, NOW - HOUR)}),
        ("started:2030-01-31", {"started": (datetime(2030, 1, 31, tzinfo=UTC), None)}),
        (
            "scheduled:2030-01-31T08:00+02:00",
            {"scheduled": (datetime(2030, 1, 31, 6, tzinfo=UTC), None)},
        ),
        ("order:due", {"order": "due"}),
    ],
)
def test_words_say_what_is_searched_for(text: str, given: dict[str, Any]) -> None:
    assert parsed(text, NOW).given == given


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour:red", "there is no colour: here; there are args, args"),
        ("status:", "what is status: to be"),
        ('"open', "not closed"),
        ('name:"open', "not closed"),
        ('it"s', "not closed"),
        ("one two", "error_text is there twice"),
        ("status:dead status:done", "statuses is there twice"),
        ("args.a:1 args.a.b:2", "a is there twice"),
        ("args.a.b:2 args.a:1", "a is there twice"),
        ("args.a:1 args.a:2", "a is there twice"),
        ("created:soon", "soon is no time"),
        ("created:999999999d", "too long ago"),
        ("priority:high", "high is no priority"),
    ],
)
def test_what_means_nothing_is_said(text: str, says: str) -> None:
    with pytest.raises(NotUnderstood, match=says):
        parsed(text, NOW)


@pytest.mark.parametrize("text", ["boom", "args.a:1", "args:a", "headers.a:1"])
def test_what_looks_into_jobs_is_known(text: str) -> None:
    assert parsed(text).secret


@pytest.mark.parametrize(
    "text", ["status:dead", "error:ValueError", "tag:a", "created:1h", "key:a"]
)
def test_what_does_not_is_known(text: str) -> None:
    assert not parsed(text).secret


@pytest.mark.parametrize("text", ["plain", 'a "b" c', "back\\slash\\", "a,b", "it's: *", "\n"])
def test_any_value_can_be_quoted(text: str) -> None:
    assert parsed(f"queue:{quoted(text)} status:dead").given == {
        "queues": [text],
        "statuses": ["dead"],
    }
