"""Plugins and the command line: what `soniq plugins` lists, and the commands that plugins add."""

import json

from soniq import CONTRACT_VERSION
from soniq.hooks.specs import SPECS

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
        "hooks": ["register_commands"], "blocked": None, "error": None,
    }  # fmt: skip
    assert plugins["broken"]["blocked"] == "SONIQ_PLUGINS=hello"
    assert (plugins["broken"]["origin"], plugins["broken"]["file"]) == ("soniq_broken", None)
    assert plugins["json"]["source"] == "default"
    assert plugins["json"]["distribution"] == "soniq-core"

    shown = project.soniq("plugins", SONIQ_PLUGINS="hello")
    assert shown.returncode == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["NAME", "VERSION", "DISTRIBUTION", "SOURCE", "FROM", "STATE", "HOOKS"]
    assert ["hello", "2.3", "soniq-hello", "discovered", "soniq_hello", "loaded", "register_commands"] in lines


def test_plugins_lists_those_that_were_passed_to_an_app(project: Project) -> None:
    project.write(
        "shop.py",
        """
        from soniq import Soniq, hookimpl
        class Audit:
            name = "audit"
            @hookimpl
            def before_job(self, ctx): ...
        eq = Soniq(plugins=[Audit()])
        """,
    )
    found = project.json("plugins", "--app", "shop:eq")
    (audit,) = [plugin for plugin in found["plugins"] if plugin["name"] == "audit"]
    assert (audit["source"], audit["hooks"]) == ("passed", ["before_job"])
    assert (audit["origin"], audit["file"]) == ("shop", str(project.folder / "shop.py"))


def test_hooks_lists_the_contract_with_the_implementations_in_the_order_they_run(project: Project) -> None:
    project.plugin("hello", GREETING)
    project.write(
        "shop.py",
        """
        from soniq import Soniq, hookimpl
        class Audit:
            name = "audit"
            @hookimpl
            def before_job(self, ctx): ...
            @hookimpl
            def retry_delay(self, error): ...
        class Log:
            name = "log"
            @hookimpl(tryfirst=True)
            async def before_job(self): ...
            @hookimpl
            def retry_delay(self, error): ...
        eq = Soniq(plugins=[Audit(), Log()])
        @eq.before_job
        def remember(ctx): ...
        """,
    )
    found = project.json("plugins", "--app", "shop:eq", "--hooks", SONIQ_PLUGINS="hello")
    hooks = {hook["name"]: hook for hook in found["hooks"]}
    assert (found["version"], list(hooks)) == (CONTRACT_VERSION, list(SPECS))
    assert hooks["before_job"] == {
        "name": "before_job", "arguments": ["ctx"], "kind": "observer", "def_only": False, "since": 1,
        "about": hooks["before_job"]["about"],
        "implementations": [
            {"plugin": "log", "function": "Log.before_job"},
            {"plugin": "audit", "function": "Audit.before_job"},
            {"plugin": "application", "function": "remember"},
        ],
    }  # fmt: skip
    assert hooks["before_job"]["about"].startswith("Before the handler")
    assert [each["plugin"] for each in hooks["retry_delay"]["implementations"]] == ["audit", "log", "backoff"]
    assert hooks["register_commands"]["def_only"]

    shown = project.soniq("plugins", "--app", "shop:eq", "--hooks", SONIQ_PLUGINS="hello").stdout
    paragraph = next(each for each in shown.split("\n\n") if each.startswith("before_job("))
    assert paragraph.splitlines()[0] == "before_job(ctx): observer, since 1"
    assert paragraph.splitlines()[2:] == [
        "  1. log: Log.before_job", "  2. audit: Audit.before_job", "  3. application: remember"
    ]  # fmt: skip
    assert "register_commands(cli): in order, def only" in shown


def test_hooks_lists_the_contract_also_where_a_plugin_cannot_be_loaded(project: Project) -> None:
    project.plugin("broken", BROKEN)
    done = project.soniq("plugins", "--hooks", SONIQ_PLUGINS="broken")
    assert done.returncode == 1
    assert "no licence" in done.stderr
    assert "  1. json: JsonPlugin.serializers" in done.stdout


def test_a_plugin_that_cannot_be_loaded_is_an_error_and_the_others_are_listed(project: Project) -> None:
    project.plugin("broken", BROKEN)
    project.plugin("hello", GREETING)
    done = project.soniq("plugins", "--json", SONIQ_PLUGINS="-embedded")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the plugin 'broken' (from soniq-broken) cannot be loaded: RuntimeError")
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


def test_a_choice_of_plugins_that_cannot_be_is_an_error_and_what_is_installed_is_listed(project: Project) -> None:
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
    assert done.stderr.startswith("warning: the plugin 'broken' (from soniq-broken) cannot be loaded")
    assert len(done.stderr.splitlines()) == 1
    assert ["greet", "Say", "hello."] in [line.split() for line in done.stdout.splitlines()]
    assert "worker " in done.stdout


def test_a_plugin_adds_commands_and_its_errors_look_like_the_others(project: Project) -> None:
    project.plugin("hello", GREETING)
    done = project.soniq("greet", SONIQ_PLUGINS="hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    done = project.soniq("complain", SONIQ_PLUGINS="hello")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: there is nothing to greet\n")


def test_a_blocked_plugin_adds_no_commands(project: Project) -> None:
    project.plugin("hello", GREETING)
    done = project.soniq("greet", SONIQ_PLUGINS="-hello,-embedded")
    assert done.returncode == 2
    assert "No such command 'greet'" in done.stderr


def test_an_error_in_register_commands_is_a_warning_and_half_of_it_is_not_added(project: Project) -> None:
    project.plugin("half", GREETING + "    1 / 0\n")
    project.plugin("hello", GREETING.replace("greet()", "wave()"))
    done = project.soniq("--help", SONIQ_PLUGINS="half,hello")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: register_commands of the plugin 'half' failed: ZeroDivisionError: division by zero\n"
    )
    assert "greet" not in done.stdout
    assert "wave " in done.stdout
    assert "worker " in done.stdout


def test_a_command_of_the_core_is_not_replaced_and_a_warning_says_so(project: Project) -> None:
    project.plugin("hello", GREETING.replace("greet()", "jobs()"))
    done = project.soniq("--help", SONIQ_PLUGINS="hello")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the plugin 'hello' has a command 'jobs', and so has soniq")
    assert "Say hello" not in done.stdout
    assert "complain " in done.stdout
    assert "List the newest jobs" in project.soniq("jobs", "--help", SONIQ_PLUGINS="hello").stdout
