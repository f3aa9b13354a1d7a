"""What the words of the search box mean, and that what means nothing is said."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soniq_dashboard.web.query import NotUnderstood, parsed, quoted
from soniq_dashboard.web.words import FIELDS, fields_of, filtered

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


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("status:dead,cancelled name:mail.*", {"status": "dead,cancelled", "name": "mail.*"}),
        ('queue:"a b" "an address"', {"queue": '"a b"', "says": '"an address"'}),
        ("args.customer:7 args.a.b:x", {"args": "customer:7 a.b:x"}),
        ("args:text created:1h", {"args": "text", "created": "1h"}),
        ("order:due worker:a says:b headers.a:1 status.a:1", {}),
    ],
)
def test_a_search_is_in_the_fields_of_a_form_and_comes_back_from_them(
    text: str, fields: dict[str, str]
) -> None:
    found = fields_of(text)
    assert found == {**dict.fromkeys(FIELDS, ""), **fields}
    again = filtered(text, found)
    assert sorted(again.split()) == sorted(text.split())


def test_fields_of_a_form_take_the_place_of_what_a_search_said_of_them() -> None:
    given = {
        "status": "", "name": "a, b", "queue": 'say "hi"', "says": "no address",
        "args": 'customer:7 a.b:"x y" 9', "finished": "1h",
    }  # fmt: skip
    text = filtered('status:dead name:c order:newest tag:eu args.c:8 args:9 "old"', given)
    assert text == (
        'order:newest tag:eu name:a,b queue:"say \\"hi\\"" "no address" args.customer:7'
        ' args.a.b:"x y" args:9 finished:1h'
    )
    assert parsed(text).given["queues"] == ['say "hi"']
    assert parsed(text).given["args"] == {"customer": 7, "a": {"b": "x y"}}
    assert parsed(filtered("", {"says": "back\\slash"})).given["error_text"] == "back\\slash"
