"""`python -m soniq` is the command `soniq`. It is there also where another product has taken over
the other files.
"""

import sys

from soniq.distribution import conflict

told = conflict()
if told is not None:
    sys.exit(f"error: {told}")

from soniq.cli import main  # noqa: E402 (its files may be the other product's)

main()
