"""`soniq dashboard`: serve the pages."""

import gc
import os
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from soniq import Soniq
from soniq.plugin import takes_app, use

from .permissions import PERMISSIONS

if TYPE_CHECKING:
    from .web.gate import Authorize

SETTING = "SONIQ_DASHBOARD_PASSWORD"
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What HTTP calls a header (RFC 9110, 5.1)."""
MISSING = "the pages need some more packages: pip install 'soniq-dashboard[web]'"


@click.command()
@takes_app
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8800, show_default=True, type=click.IntRange(0, 65_535))
@click.option(
    "--allow",
    default="",
    metavar="ACTIONS",
    help="What users may do beyond looking at jobs, with commas: see_arguments (and results,"
    " headers and errors), retry, cancel, delete, pause, bulk (what they may do, with all jobs that"
    " match a search); or all.",
)
@click.option("--prefix", default="", help="The path below which a proxy shows the dashboard.")
@click.option(
    "--behind-proxy-auth",
    "header",
    metavar="HEADER",
    help="Let in whom the proxy in front names in this header.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="The address of that proxy; 127.0.0.1 by default. May be given more than once.",
)
def dashboard(
    app: Soniq,
    host: str,
    port: int,
    allow: str,
    prefix: str,
    header: str | None,
    proxies: Sequence[str],
) -> None:
    """Show queues, jobs and workers in a browser, until Ctrl-C.

    Everybody of this machine may look; what they may do, --allow says. To be reached from elsewhere
    it needs SONIQ_DASHBOARD_PASSWORD, which is asked for with any user name, or a proxy in front
    that knows its users (--behind-proxy-auth). With --app, what is secret in arguments is what the
    jobs say, and results can be read as the app stores them.
    """
    try:
        from .web.serve import listening, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "jinja2", "uvicorn"):
            raise
        raise click.ClickException(MISSING) from error
    if prefix and not prefix.startswith("/"):
        raise click.BadParameter("it begins with a /", param_hint="--prefix")

    authorize = _authorize(host, allow, header, proxies)
    try:
        listens = listening(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen at {host} port {port}: {error}") from error
    with listens:
        at = f"[{host}]" if ":" in host else host
        url = f"http://{at}:{listens.getsockname()[1]}/"
        ready = partial(_ready, url)
        use(app, lambda: serve(app, authorize, listens, prefix=prefix, ready=ready))


def _ready(url: str) -> None:
    gc.freeze()  # what is loaded by now stays: to look through all of it takes longer than a page
    click.echo(f"the dashboard is at {url}; Ctrl-C ends it")


def _authorize(host: str, allow: str, header: str | None, proxies: Sequence[str]) -> "Authorize":
    """Who may come in. Raises `click.UsageError` where that would be anybody."""
    from .web.entrance import SHORTEST, behind_proxy, is_loopback, local, with_password

    named = {each.strip() for each in allow.split(",") if each.strip()}
    if unknown := named - PERMISSIONS - {"all"}:
        there_are = ", ".join(sorted(PERMISSIONS))
        raise click.BadParameter(
            f"{min(unknown)!r} is none of {there_are}, all", param_hint="--allow"
        )
    may = PERMISSIONS if "all" in named else {each for each in PERMISSIONS if each in named}

    if header is not None:
        if not HEADER.fullmatch(header):
            raise click.BadParameter(
                f"{header!r} is no name of a header", param_hint="--behind-proxy-auth"
            )
        return behind_proxy(header, proxies or ["127.0.0.1"], may)
    if proxies:
        raise click.UsageError("--proxy goes with --behind-proxy-auth")
    if password := os.environ.get(SETTING):
        if len(password) < SHORTEST:
            raise click.UsageError(f"{SETTING} is shorter than {SHORTEST} characters")
        return with_password(password, may)
    if is_loopback(host):
        return local(may)
    raise click.UsageError(
        f"at {host} others could reach it: set {SETTING}, or put a proxy in front"
        " (--behind-proxy-auth)"
    )
