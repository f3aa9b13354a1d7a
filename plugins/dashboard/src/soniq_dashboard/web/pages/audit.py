"""Who did what, and when."""

from collections.abc import Mapping, Sequence

from soniq_dashboard.audit import KINDS, Line, lines
from soniq_dashboard.web.view import View

from . import Page
from .jobs import LABELS
from .series import collector

LIMIT = 50


async def read(view: View) -> Mapping[str, object]:
    before, by = view.count("before") or None, view.text("by")
    action = view.choice("action", {"": "", **dict.fromkeys(KINDS)}, "")
    found: Sequence[Line] = ()
    if kept := collector(view) is not None:
        found = await view.shared.get(
            ("audit", before, by, action),
            lambda: lines(
                view.app, before=before, by=by or None, action=action or None, most=LIMIT + 1
            ),
        )

    shown = found[:LIMIT]
    labels: Mapping[str, str] = {str(act): label for act, label in LABELS.items()}
    older = view.url("/audit", by=by, action=action, before=shown[-1].id if shown else None)
    return {
        "lines": shown,
        "kept": kept,
        "by": by,
        "action": action,
        "tabs": [
            (
                labels.get(each, each.capitalize() or "All"),
                view.url("/audit", by=by, action=each),
                each == action,
            )
            for each in ("", *KINDS)
        ],
        "older": len(found) > LIMIT and older,
        "first": before is None,
    }


PAGE = Page("/audit", "audit.html", read, "Audit", "a")
