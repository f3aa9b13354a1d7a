"""Which plugins an app has: installed ones, SONIQ_PLUGINS, those passed to it; and what is refused
when they load.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from soniq import ConfigurationError, JobContext, Soniq, hookimpl
from soniq.errors import PluginError
from soniq.plugin import load_plugins
from soniq_embedded import EmbeddedPlugin
from tests.core.hooks.support import Install, MakePlugin

EMPTY = """
class Plugin:
    @hookimpl
    def before_job(self): ...
"""

Loaded = Callable[..., dict[str, str]]


@pytest.fixture
def loaded() -> Loaded:
    """The plugins that an app loads, by name with their source; the defaults, and those that are
    blocked, left out.
    """

    def loaded(**arguments: Any) -> dict[str, str]:
        plugins = load_plugins(Soniq(**arguments)).plugins
        return {
            each.name: each.source
            for each in plugins
            if each.source != "default" and not each.blocked
        }

    return loaded


class TestChoice:
    """SONIQ_PLUGINS, discover= and plugins=."""

    @pytest.fixture(autouse=True)
    def _installed(self, install: Install) -> None:
        install("alpha", EMPTY)
        install("beta", EMPTY)

    def test_all_that_are_installed_are_loaded_by_default(self, loaded: Loaded) -> None:
        assert loaded() == {"alpha": "discovered", "beta": "discovered", "embedded": "discovered"}

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ("", []),
            (",", []),
            ("alpha", ["alpha"]),
            ("beta,alpha", ["alpha", "beta"]),
            (" beta , alpha ", ["alpha", "beta"]),
            ("-alpha", ["beta", "embedded"]),
            ("-alpha,-embedded", ["beta"]),
        ],
    )
    def test_the_environment_chooses(
        self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, chosen: str, expected: list[str]
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", chosen)
        assert sorted(loaded()) == expected

    @pytest.mark.parametrize("chosen", ["alpha,-beta", "-alpha,beta"])
    def test_mixed_signs_are_an_error(
        self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, chosen: str
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", chosen)
        with pytest.raises(ConfigurationError, match=f"SONIQ_PLUGINS={chosen}: either"):
            loaded()

    @pytest.mark.parametrize("chosen", ["alpah", "-alpah"])
    def test_a_name_that_is_not_installed_is_an_error_that_names_the_nearest(
        self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, chosen: str
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", chosen)
        with pytest.raises(ConfigurationError, match="'alpah' is installed; did you mean 'alpha'"):
            loaded()

    def test_a_name_like_no_other_is_an_error_that_lists_them(
        self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", "xyz")
        with pytest.raises(
            ConfigurationError, match=r"'xyz' is installed; installed: .*alpha.*beta"
        ):
            loaded()

    def test_without_discovery_there_are_none_and_the_environment_is_not_asked(
        self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert loaded(discover=False) == {}
        monkeypatch.setenv("SONIQ_PLUGINS", "xyz")
        assert loaded(discover=False) == {}

    def test_the_defaults_are_always_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", "")
        names = [each.name for each in load_plugins(Soniq()).plugins if each.source == "default"]
        assert names == [
            "json", "connections", "dedup", "backoff", "results-in-row", "masking", "injection",
        ]  # fmt: skip

    def test_one_that_is_blocked_is_listed_and_not_even_imported(
        self, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = install("gamma", "raise AssertionError('imported')")
        monkeypatch.setenv("SONIQ_PLUGINS", "-gamma")
        [gamma] = [each for each in load_plugins(Soniq()).plugins if each.name == "gamma"]
        assert gamma.blocked == "SONIQ_PLUGINS=-gamma"
        assert (gamma.distribution, gamma.version) == ("soniq-gamma", "1.0")
        assert module not in sys.modules

    def test_the_list_says_where_each_is_from_and_which_hooks_it_has(self) -> None:
        [alpha] = [each for each in load_plugins(Soniq()).plugins if each.name == "alpha"]
        assert (alpha.distribution, alpha.version, alpha.source) == (
            "soniq-alpha",
            "1.0",
            "discovered",
        )
        assert list(alpha.hooks) == ["before_job"]

    def test_the_constructor_loads_nothing(
        self, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = install("gamma", "raise AssertionError('imported')")
        monkeypatch.setenv("SONIQ_PLUGINS", "nonsense,-nonsense")
        Soniq()
        assert module not in sys.modules


class TestPassed:
    """Configured plugins, which are passed to the app."""

    def test_it_replaces_the_discovered_one_of_its_name_and_is_never_blocked(
        self, loaded: Loaded, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = install("alpha", EMPTY)
        loaded()
        configured = vars(sys.modules[module])["Plugin"]()
        for chosen in (None, "", "-alpha", "alpha"):
            if chosen is not None:
                monkeypatch.setenv("SONIQ_PLUGINS", chosen)
            plugins = [
                each
                for each in load_plugins(Soniq(plugins=[configured])).plugins
                if each.name == "alpha"
            ]
            assert [(each.source, each.blocked) for each in plugins] == [("passed", None)]

    def test_its_name_is_that_of_the_entry_point_also_where_the_package_only_hands_it_on(
        self, loaded: Loaded
    ) -> None:
        assert EmbeddedPlugin.__module__ != "soniq_embedded"
        assert loaded(plugins=[EmbeddedPlugin("folder")]) == {"embedded": "passed"}

    def test_its_name_is_that_of_the_entry_point_where_that_is_an_instance(
        self, loaded: Loaded, install: Install
    ) -> None:
        module = install("alpha", f"{EMPTY}\nplugin = Plugin()", attribute="plugin")
        loaded()
        assert loaded(plugins=[vars(sys.modules[module])["Plugin"]()])["alpha"] == "passed"

    def test_its_name_is_that_of_the_entry_point_where_that_is_a_module(
        self, loaded: Loaded, install: Install
    ) -> None:
        module = install("alpha", "@hookimpl\ndef before_job(): ...", attribute="")
        assert loaded()["alpha"] == "discovered"
        assert loaded(plugins=[sys.modules[module]])["alpha"] == "passed"

    def test_without_an_entry_point_its_name_is_its_own_or_that_of_its_type(
        self, loaded: Loaded
    ) -> None:
        class Named:
            name = "my-plugin"

        class Nameless: ...

        assert loaded(discover=False, plugins=[Named(), Nameless()]) == {
            "my-plugin": "passed",
            "Nameless": "passed",
        }

    def test_a_class_is_instantiated(
        self, loaded: Loaded, install: Install, calls: list[str]
    ) -> None:
        class Plugin:
            def __init__(self) -> None:
                calls.append("passed")

        install("alpha", f"{EMPTY}\n    def __init__(self):\n        calls.append('discovered')")
        assert loaded(plugins=[Plugin]) == {
            "Plugin": "passed",
            "alpha": "discovered",
            "embedded": "discovered",
        }
        assert calls == ["passed", "discovered"]

    def test_two_of_one_name_are_an_error(self, loaded: Loaded, make_plugin: MakePlugin) -> None:
        with pytest.raises(
            PluginError, match="two of the plugins passed to the app are named 'twice'"
        ):
            loaded(plugins=[make_plugin("twice"), make_plugin("twice")])

    @pytest.mark.parametrize("name", ["application", "soniq"])
    def test_a_reserved_name_is_an_error(
        self, loaded: Loaded, make_plugin: MakePlugin, name: str
    ) -> None:
        with pytest.raises(PluginError, match=f"named '{name}', which is reserved"):
            loaded(plugins=[make_plugin(name)])

    def test_the_name_of_a_default_is_an_error(
        self, loaded: Loaded, make_plugin: MakePlugin
    ) -> None:
        with pytest.raises(PluginError, match="'json'"):
            loaded(plugins=[make_plugin("json")])

    def test_a_class_that_cannot_be_made_is_an_error_that_names_it(self, loaded: Loaded) -> None:
        class NeedsArguments:
            def __init__(self, key: str) -> None: ...

        with pytest.raises(PluginError, match=r"'NeedsArguments' cannot be created.*key"):
            loaded(plugins=[NeedsArguments])


class TestBroken:
    """Errors at start-up that name plugin, distribution and the nearest right name."""

    def test_one_that_does_not_import(self, loaded: Loaded, install: Install) -> None:
        install("alpha", "import no_such_module")
        with pytest.raises(
            PluginError, match=r"'alpha' \(from soniq-alpha\).*no_such_module.*SONIQ_PLUGINS=-alpha"
        ) as it:
            loaded()
        assert (it.value.plugin, it.value.distribution) == ("alpha", "soniq-alpha")
        assert isinstance(it.value.__cause__, ModuleNotFoundError)

    def test_one_whose_attribute_is_not_there(self, loaded: Loaded, install: Install) -> None:
        install("alpha", EMPTY, attribute="Plugni")
        with pytest.raises(PluginError, match=r"'alpha'.*Plugni"):
            loaded()

    def test_one_whose_class_cannot_be_instantiated(self, loaded: Loaded, install: Install) -> None:
        install("alpha", f"{EMPTY}\n    def __init__(self):\n        raise ValueError('no key')")
        with pytest.raises(PluginError, match=r"'alpha' \(from soniq-alpha\).*no key"):
            loaded()

    def test_two_distributions_with_one_plugin_name(self, loaded: Loaded, install: Install) -> None:
        install("alpha", EMPTY, distribution="one")
        install("alpha", EMPTY, distribution="two")
        with pytest.raises(PluginError, match="named 'alpha': one and two; uninstall one"):
            loaded()

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (
                "@hookimpl\ndef before_jobs(ctx): ...",
                "no hook named 'before_jobs'; did you mean 'before_job'",
            ),
            ("@hookimpl\ndef xyz(): ...", "no hook named 'xyz'$"),
            (
                "@hookimpl(specname='after_jobb')\ndef mine(): ...",
                "no hook named 'after_jobb'; did you mean 'after_job'",
            ),
            (
                "@hookimpl\ndef before_job(ctxt): ...",
                "before_job has no argument 'ctxt'; did you mean 'ctx'",
            ),
            (
                "@hookimpl\ndef after_job(xyz): ...",
                "after_job has no argument 'xyz'; it offers ctx, result",
            ),
            (
                "@hookimpl\ndef serializers(app): ...",
                "serializers has no argument 'app'; it offers none",
            ),
            ("@hookimpl\ndef before_job(*, ctx): ...", "before_job: ctx must be a plain argument"),
            (
                "@hookimpl\ndef before_job(ctx=None): ...",
                "before_job: ctx=None must be a plain argument",
            ),
            (
                "@hookimpl\ndef before_job(*args): ...",
                r"before_job: \*args must be a plain argument",
            ),
            (
                "@hookimpl\ndef before_job(ctx, **rest): ...",
                r"before_job: \*\*rest must be a plain argument",
            ),
            (
                "@hookimpl(wrapper=True)\ndef before_job(ctx):\n    yield",
                "before_job is a pluggy wrapper",
            ),
            (
                "@hookimpl(hookwrapper=True)\ndef before_job(ctx):\n    yield",
                "before_job is a pluggy wrapper",
            ),
            ("@hookimpl\nasync def serializers(): ...", "serializers .*write it with def"),
            (
                "@hookimpl\nasync def background_tasks():\n    yield",
                "background_tasks .*write it with def",
            ),
            (
                "import functools\nbefore_job = hookimpl(functools.partial(print))",
                "before_job .*is no function",
            ),
        ],
    )
    def test_a_hook_that_is_written_wrongly(
        self, loaded: Loaded, install: Install, source: str, said: str
    ) -> None:
        install("alpha", source, attribute="")
        with pytest.raises(PluginError, match=said) as caught:
            loaded()
        assert str(caught.value).startswith("the plugin 'alpha' (from soniq-alpha): ")
        assert (caught.value.plugin, caught.value.distribution) == ("alpha", "soniq-alpha")

    def test_one_that_is_passed_is_checked_in_the_same_way(
        self, loaded: Loaded, make_plugin: MakePlugin
    ) -> None:
        def before_job(contxt: JobContext) -> None: ...

        with pytest.raises(
            PluginError, match="the plugin 'mine': before_job has no argument 'contxt'"
        ):
            loaded(plugins=[make_plugin("mine", before_job=before_job)])

    @pytest.mark.parametrize(
        "hook", ["serializers", "provide", "configure_job", "migrations", "register_commands"]
    )
    def test_a_hook_for_def_only_is_refused_as_async_def(
        self, loaded: Loaded, make_plugin: MakePlugin, hook: str
    ) -> None:
        async def function() -> None: ...

        with pytest.raises(PluginError, match=f"{hook} is called outside an event loop"):
            loaded(plugins=[make_plugin("mine", **{hook: function})])

    async def test_the_start_fails_with_it(self, install: Install, database_url: str) -> None:
        install("alpha", "import no_such_module")
        with pytest.raises(PluginError):
            await Soniq(database_url).start()


def test_a_hook_may_have_another_name_in_the_plugin(
    make_plugin: MakePlugin, loaded: Loaded
) -> None:
    class Plugin:
        @hookimpl(specname="before_job")
        def note_the_start(self, ctx: JobContext) -> None: ...

        @staticmethod
        @hookimpl
        def after_job(ctx: JobContext) -> None: ...

    plugin = load_plugins(Soniq(plugins=[Plugin()], discover=False)).plugins[0]
    assert list(plugin.hooks) == ["after_job", "before_job"]


def test_a_property_of_a_plugin_is_not_read(loaded: Loaded) -> None:
    class Plugin:
        name = "plugin"

        @property
        def client(self) -> ModuleType:
            raise AssertionError("read")

    assert loaded(plugins=[Plugin()], discover=False) == {"plugin": "passed"}
