"""A search that no index serves looks at so many jobs, and its page leads on to the others."""

import re
from html import unescape

import pytest

from soniq import Soniq
from soniq_dashboard.web.pages import jobs
from tests.plugins.dashboard.web.conftest import Browse


@pytest.mark.parametrize(("q", "rows"), [("args.n:0", 150), ("args:found", 250)])
async def test_a_page_leads_on_from_where_its_search_ended(
    app: Soniq, browse: Browse, monkeypatch: pytest.MonkeyPatch, q: str, rows: int
) -> None:
    monkeypatch.setattr(jobs, "ROWS", 250)
    monkeypatch.setattr(jobs, "ROWS_BY_ARGUMENT", 150)
    found, others = {"n": 0, "text": "found"}, [{"n": n, "text": ""} for n in range(1, 600)]
    await app.enqueue_many("lookup", [found, *others])

    client, address, pages = browse(app), f"/jobs?q={q}", 0
    while "lookup</a>" not in (html := (await client.get(address)).text):
        assert "there may be more" in html
        (on,) = re.findall(r'href="([^"]*)">Look further<', html)
        address, pages = unescape(on), pages + 1
    assert pages == (600 - 1) // rows
    assert html.count("data-row") == 1
