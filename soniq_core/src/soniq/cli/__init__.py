"""The command `soniq`: one file for each of its commands."""


def main() -> None:
    """Run the command line."""
    # All the commands: a program that enqueues needs none of them
    from soniq.cli.commands import main as run

    run()


__all__ = ["main"]
