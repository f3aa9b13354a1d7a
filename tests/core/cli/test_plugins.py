"""Plugins and the command line: what `soniq plugins` lists, and the commands that plugins add."""

import json
import subprocess

from soniq import Soniq
from soniq.hooks.specs import HOOKS
from soniq.plugin import CONTRACT_VERSION

from .conftest import Project

GREETING = """
import click
from soniq import SoniqError, hookimpl

@hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        "Say hello."
        click.echo("hello")

    @cli.command()
    def complain():
        "Fail."
        raise SoniqError("there is nothing to greet")
"""
BROKEN = "raise RuntimeError('no licence')\n"


def test_plugins_lists_what_is_loaded_and_what_is_blocked(project: Project) -> None:
    project.plugin("hello", GREETING, version="2.3")
    project.plugin("broken", BROKEN)  # blocked, and so not even imported
    found = project.json("plugins", SONIQ_PLUGINS="hello")
    plugins = {plugin["name"]: plugin for plugin in found["plugins"]}
    assert found["errors"] == []
    assert plugins["hello"] == {
        "name": "hello", "version": "2.3", "distribution": "soniq-hello", "source": "discovered",
        "origin": "soniq_hello", "file": str(project.folder / "plugins/soniq_hello.py"),
        "hooks": ["register_commands"], "jobs": [], "blocked": None, "error": None,
    }  # fmt: skip
    assert plugins["broken"]["blocked"] == "SONIQ_PLUGINS=hello"
    assert (plugins["broken"]["origin"], plugins["broken"]["file"]) == ("soniq_broken", None)
    assert plugins["json"]["source"] == "default"
    assert plugins["json"]["distribution"] == "soniq-core"

    shown = project.soniq("plugins", SONIQ_PLUGINS="hello")
    assert shown.returncode == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    head = ["NAME", "VERSION", "DISTRIBUTION", "SOURCE", "FROM", "STATE", "HOOKS", "JOBS"]
    assert lines[0] == head
    assert [
        "hello",
        "2.3",
        "soniq-hello",
        "discovered",
        "soniq_hello",
        "loaded",
        "register_commands",
        "-",
    ] in lines


def test_plugins_lists_those_that_were_passed_to_an_app(project: Project) -> None:
    project.write(
        "shop.py",
        """
        from soniq import Jobs, Soniq, hookimpl
        class Audit:
            name = "audit"
            @hookimpl
            def before_job(self, ctx): ...
            @hookimpl
            def jobs(self):
                offered = Jobs()
                @offered.job
                def report(): ...
                return offered
        eq = Soniq(plugins=[Audit()])
        """,
    )
    found = project.json("plugins", "--app", "shop:eq")
    (audit,) = [plugin for plugin in found["plugins"] if plugin["name"] == "audit"]
    assert (audit["source"], audit["hooks"]) == ("passed", ["before_job", "jobs"])
    assert audit["jobs"] == ["audit.report"]
    assert (audit["origin"], audit["file"]) == ("shop", str(project.folder / "shop.py"))


def test_hooks_lists_the_contract_with_the_implementations_in_the_order_they_run(
    project: Project,
) -> None:
    project.plugin("hello", GREETING)
    project.write(
        "shop.py",
        """
        from soniq import Soniq, hookimpl
        from soniq.plugin import hookspec
        class Audit:
            name = "audit"
            @hookimpl
            def before_job(self, ctx): ...
            @hookimpl
            def retry_delay(self, error): ...
            @hookimpl
            def hookspecs(self):
                return [audit_kept]
        @hookspec.observer
        def audit_kept(row):
            "After a row was kept."
        class Log:
            name = "log"
            @hookimpl(tryfirst=True)
            async def before_job(self): ...
            @hookimpl
            def retry_delay(self, error): ...
            @hookimpl
            def audit_kept(self): ...
        eq = Soniq(plugins=[Audit(), Log()])
        @eq.before_job
        def remember(ctx): ...
        """,
    )
    found = project.json("plugins", "--app", "shop:eq", "--hooks", SONIQ_PLUGINS="hello")
    hooks = {hook["name"]: hook for hook in found["hooks"]}
    assert (found["version"], list(hooks)) == (CONTRACT_VERSION, [*HOOKS, "audit_kept"])
    assert hooks["before_job"] == {
        "name": "before_job",
        "arguments": ["ctx"],
        "kind": "observer",
        "def_only": False,
        "since": 1,
        "specified_by": None,
        "about": hooks["before_job"]["about"],
        "implementations": [
            {"plugin": "log", "function": "Log.before_job"},
            {"plugin": "audit", "function": "Audit.before_job"},
            {"plugin": "application", "function": "remember"},
        ],
    }
    assert hooks["before_job"]["about"].startswith("Before the handler")
    assert [each["plugin"] for each in hooks["retry_delay"]["implementations"]] == [
        "audit",
        "log",
        "backoff",
    ]
    assert hooks["register_commands"]["def_only"]

    shown = project.soniq("plugins", "--app", "shop:eq", "--hooks", SONIQ_PLUGINS="hello").stdout
    paragraph = next(each for each in shown.split("\n\n") if each.startswith("before_job("))
    assert paragraph.splitlines()[0] == "before_job(ctx): observer, since 1"
    assert paragraph.splitlines()[2:] == [
        "  1. log: Log.before_job", "  2. audit: Audit.before_job", "  3. application: remember"
    ]  # fmt: skip
    assert "register_commands(cli): in order, def only" in shown
    own = "audit_kept(row): observer, of audit\n  After a row was kept.\n  1. log: Log.audit_kept\n"
    assert shown.endswith(f"\n\n{own}")


def test_hooks_lists_the_contract_also_where_a_plugin_cannot_be_loaded(project: Project) -> None:
    project.plugin("broken", BROKEN)
    done = project.soniq("plugins", "--hooks", SONIQ_PLUGINS="broken")
    assert done.returncode == 1
    assert "no licence" in done.stderr
    assert "  1. json: JsonPlugin.serializers" in done.stdout


def test_a_plugin_that_cannot_be_loaded_is_an_error_and_the_others_are_listed(
    project: Project,
) -> None:
    project.plugin("broken", BROKEN)
    project.plugin("hello", GREETING)
    done = project.soniq("plugins", "--json", SONIQ_PLUGINS="-embedded")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: the plugin 'broken' (from soniq-broken) cannot be loaded: RuntimeError"
    )
    found = json.loads(done.stdout)
    plugins = {plugin["name"]: plugin for plugin in found["plugins"]}
    assert plugins["broken"]["error"] == found["errors"][0]
    assert plugins["hello"]["hooks"] == ["register_commands"]
    assert plugins["embedded"]["blocked"] == "SONIQ_PLUGINS=-embedded"
    assert (plugins["hello"]["blocked"], plugins["hello"]["error"]) == (None, None)
    assert "no licence" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_plugins_that_cannot_be_loaded_are_both_reported(project: Project) -> None:
    project.plugin("broken", BROKEN)
    project.plugin("worse", "from soniq import hookimpl\n@hookimpl\ndef before_jbo(ctx): ...\n")
    done = project.soniq("plugins", SONIQ_PLUGINS="broken,worse")
    assert done.returncode == 1
    assert [line.split("'")[1] for line in done.stderr.splitlines()] == ["broken", "worse"]
    assert "did you mean 'before_job'?" in done.stderr
    assert done.stdout.count("cannot be loaded") == 2


def test_a_choice_of_plugins_that_cannot_be_is_an_error_and_what_is_installed_is_listed(
    project: Project,
) -> None:
    project.plugin("hello", GREETING)
    done = project.soniq("plugins", SONIQ_PLUGINS="helo")
    assert done.returncode == 1
    assert "did you mean 'hello'?" in done.stderr
    assert "soniq-hello" in done.stdout


def test_two_distributions_with_one_plugin_name_are_both_listed(project: Project) -> None:
    project.plugin("hello", GREETING, distribution="one")
    project.plugin("hello", GREETING, distribution="two")
    done = project.soniq("plugins", SONIQ_PLUGINS="hello")
    assert done.returncode == 1
    assert "two distributions have a plugin named 'hello'" in done.stderr
    assert {"one", "two"} <= {line.split()[2] for line in done.stdout.splitlines()}


def test_help_works_with_a_plugin_that_cannot_be_loaded_and_says_so(project: Project) -> None:
    project.plugin("broken", BROKEN)
    project.plugin("hello", GREETING)
    done = project.soniq("--help", SONIQ_PLUGINS="broken,hello")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "warning: the plugin 'broken' (from soniq-broken) cannot be loaded"
    )
    assert len(done.stderr.splitlines()) == 1
    assert ["greet", "Say", "hello."] in [line.split() for line in done.stdout.splitlines()]
    assert "worker " in done.stdout


def test_a_plugin_adds_commands_and_its_errors_look_like_the_others(project: Project) -> None:
    project.plugin("hello", GREETING)
    done = project.soniq("greet", SONIQ_PLUGINS="hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    done = project.soniq("complain", SONIQ_PLUGINS="hello")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "error: there is nothing to greet\n",
    )


def test_a_blocked_plugin_adds_no_commands(project: Project) -> None:
    project.plugin("hello", GREETING)
    done = project.soniq("greet", SONIQ_PLUGINS="-hello,-embedded")
    assert done.returncode == 2
    assert "No such command 'greet'" in done.stderr


def test_an_error_in_register_commands_is_a_warning_and_half_of_it_is_not_added(
    project: Project,
) -> None:
    project.plugin("half", GREETING + "    1 / 0\n")
    project.plugin("hello", GREETING.replace("greet()", "wave()"))
    done = project.soniq("--help", SONIQ_PLUGINS="half,hello")
    assert done.returncode == 0
    assert (
        done.stderr
        == "warning: register_commands of the plugin 'half' failed: ZeroDivisionError: division by"
        " zero\n"
    )
    assert "greet" not in done.stdout
    assert "wave " in done.stdout
    assert "worker " in done.stdout


def test_a_command_of_the_core_is_not_replaced_and_a_warning_says_so(project: Project) -> None:
    project.plugin("hello", GREETING.replace("greet()", "jobs()"))
    done = project.soniq("--help", SONIQ_PLUGINS="hello")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "warning: the plugin 'hello' has a command 'jobs', and so has soniq"
    )
    assert "Say hello" not in done.stdout
    assert "complain " in done.stdout
    assert "List the newest jobs" in project.soniq("jobs", "--help", SONIQ_PLUGINS="hello").stdout


APP_COMMAND = """
import asyncio
import click
from soniq import Soniq, hookimpl
from soniq.plugin import takes_app

@hookimpl
def register_commands(cli):
    @cli.command()
    @takes_app
    @click.argument("name")
    def count(app, name):
        "Count the jobs of a name."
        async def counted():
            async with app:
                return len(await app.jobs(name=name))
        click.echo(f"{asyncio.run(counted())} of {len(app.registry)} known")
"""


async def test_a_command_of_a_plugin_reaches_the_app_that_the_cores_reach(
    project: Project, producer: Soniq, database_url: str, schema: str
) -> None:
    project.plugin("count", APP_COMMAND)
    await producer.enqueue("add", args={"a": 1, "b": 1})
    environment = {"SONIQ_PLUGINS": "count"}
    assert project.soniq("count", "add", **environment).stdout == "1 of 0 known\n"
    with_app = project.soniq("count", "add", "--app", "app:eq", **environment).stdout
    assert with_app.startswith("1 of ")
    assert (
        with_app
        == project.soniq("count", "add", SONIQ_APP="app:eq", **environment).stdout
        != "1 of 0 known\n"
    )
    there = ("--database-url", database_url, "--schema", schema)
    assert (
        project.soniq("count", "add", *there, SONIQ_DATABASE_URL="", **environment).stdout
        == "1 of 0 known\n"
    )
    wrong = project.soniq("count", "add", "--app", "app:qe", **environment)
    assert wrong.returncode == 2
    assert "did you mean app:eq?" in wrong.stderr


LIKE_THE_CORE = """
import click
from soniq import hookimpl
from soniq.errors import SoniqError
from soniq.plugin import NotFound, as_json, duration, json_option, table, takes_app, use

class Broken(SoniqError): ...

@hookimpl
def register_commands(cli):
    @cli.command()
    @takes_app
    @click.argument("name")
    @click.option("--since", callback=duration)
    @json_option
    def last(app, name, since, as_json_):
        "Show the newest jobs of a name."
        if name == "broken":
            raise Broken("no\\x1b[31m table")
        found = use(app, lambda: app.jobs(name=name))
        if not found:
            raise NotFound(f"no job named {name!r}")
        rows = [[job["job_name"], job["attempt"], None] for job in found]
        click.echo(as_json([rows, since]) if as_json_ else table(["name", "attempt", "x"], rows))
"""


async def test_a_command_of_a_plugin_prints_and_ends_as_the_cores_do(
    project: Project, producer: Soniq
) -> None:
    project.plugin("last", LIKE_THE_CORE)
    await producer.enqueue("add", args={"a": 1, "b": 1})
    environment = {"SONIQ_PLUGINS": "last"}

    shown = project.soniq("last", "add", **environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "NAME  ATTEMPT  X\nadd         0  -\n"
    for app in ((), ("--app", "app:eq")):
        said = project.json("last", "add", "--since", "2m", *app, **environment)
        assert said == [[["add", 0, None]], 120.0]

    assert failure(project.soniq("last", "none", "--json", **environment)) == (
        3, "error: no job named 'none'\n",
    )  # fmt: skip
    assert failure(project.soniq("last", "broken", **environment)) == (
        1, "error: no\\x1b[31m table\n",
    )  # fmt: skip
    wrong = project.soniq("last", "add", "--since", "soon", **environment)
    assert wrong.returncode == 2
    assert "'soon' is not a number with a unit" in wrong.stderr


def failure(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The exit code and the error of a command that prints nothing else."""
    assert done.stdout == ""
    return done.returncode, done.stderr


async def test_status_and_inspect_show_what_plugins_say(project: Project, producer: Soniq) -> None:
    project.plugin(
        "audit",
        """
        from soniq import hookimpl
        @hookimpl
        async def status_fields(app):
            return {"seen": len(await app.jobs()), "names": ["a", "\\x1b[31mb"]}
        @hookimpl
        def inspect_fields(job):
            return {"audited": job["job_name"]}
        """,
    )
    project.plugin(
        "broken",
        """
        from soniq import hookimpl
        @hookimpl
        def status_fields():
            raise ValueError("no table")
        """,
    )
    job_id = await producer.enqueue("add", args={"a": 1, "b": 2})
    with_both = {"SONIQ_PLUGINS": "audit,broken"}
    warning = "warning: status_fields of broken failed: ValueError('no table')\n"

    shown = project.soniq("status", **with_both)
    assert (shown.returncode, shown.stderr) == (0, warning)
    assert shown.stdout.endswith("\naudit\n  seen   1\n  names  a, \\x1b[31mb\n")
    done = project.soniq("status", "--json", **with_both)
    assert (done.returncode, done.stderr) == (0, warning)
    said = {"audit": {"seen": 1, "names": ["a", "\x1b[31mb"]}}
    assert json.loads(done.stdout)["plugins"] == said

    shown = project.soniq("inspect", job_id, **with_both)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith("\n\naudit\n  audited  add\n")
    assert project.json("inspect", job_id, **with_both)["plugins"] == {"audit": {"audited": "add"}}
