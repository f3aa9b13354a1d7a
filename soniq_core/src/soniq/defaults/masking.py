"""What operators are not shown, where nobody else says: what is kept under the name of a secret."""

import re
from typing import Any

from soniq.hooks.markers import hookimpl
from soniq.presenting import MASK

SECRET = re.compile("password|secret|token|authorization|cookie|api.?key|card|iban", re.IGNORECASE)
"""Names under which, at any depth, nothing is shown."""


class MaskingPlugin:
    """Asked last of all: masks values by their keys."""

    name = "masking"

    @hookimpl
    def present(self, value: object) -> object:
        return _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if isinstance(value, dict):
        return {
            key: MASK if each is not None and SECRET.search(key) else _masked(each)
            for key, each in value.items()
        }
    return value
