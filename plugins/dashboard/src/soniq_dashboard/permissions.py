"""What users of the dashboard may do."""

from typing import Literal, get_args

Permission = Literal["see_arguments", "retry", "cancel", "delete", "pause", "bulk"]
PERMISSIONS: frozenset[Permission] = frozenset(get_args(Permission))
"""What a user may do beyond looking at jobs. `see_arguments` is to see what belongs to them: their
arguments, results, headers and errors. `bulk` is to do with all jobs that match a search what they
may do with one.
"""
