"""`python -m soniq` is the command `soniq`."""

from soniq.cli import main

main()
