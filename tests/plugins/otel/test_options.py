"""Options: arguments, then the environment, then defaults; checked when the plugin is made."""

from datetime import timedelta

import pytest

from soniq import ConfigurationError, Soniq
from soniq.errors import PluginError
from soniq.plugin import load_plugins
from soniq_otel import OtelPlugin
from tests.conftest import MakeApp


def options(plugin: OtelPlugin) -> tuple[bool, bool, float]:
    return plugin.create_spans, plugin.parent, plugin.gauge_interval


def test_there_are_defaults() -> None:
    assert options(OtelPlugin()) == (True, True, 15.0)


def test_the_environment_takes_the_place_of_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_OTEL_CREATE_SPANS", "false")
    monkeypatch.setenv("SONIQ_OTEL_PARENT", "No")
    monkeypatch.setenv("SONIQ_OTEL_GAUGE_INTERVAL", "2.5")
    assert options(OtelPlugin()) == (False, False, 2.5)


def test_arguments_take_the_place_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_OTEL_CREATE_SPANS", "false")
    monkeypatch.setenv("SONIQ_OTEL_PARENT", "false")
    monkeypatch.setenv("SONIQ_OTEL_GAUGE_INTERVAL", "2.5")
    assert OtelPlugin(gauge_interval=timedelta(minutes=1)).gauge_interval == 60
    assert options(OtelPlugin(create_spans=True, parent=True, gauge_interval=1)) == (
        True,
        True,
        1.0,
    )


@pytest.mark.parametrize(
    ("variable", "text", "wanted"),
    [
        ("SONIQ_OTEL_CREATE_SPANS", "maybe", "true or false"),
        ("SONIQ_OTEL_PARENT", "", "true or false"),
        ("SONIQ_OTEL_GAUGE_INTERVAL", "often", "a number of seconds above 0"),
        ("SONIQ_OTEL_GAUGE_INTERVAL", "0", "a number of seconds above 0"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, wanted: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError) as raised:
        OtelPlugin()
    assert str(raised.value) == f"{variable} is {wanted}; got {text!r}"


def test_an_argument_that_cannot_be_used_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"OtelPlugin\(gauge_interval=\) is a number .* got '-1'"
    ):
        OtelPlugin(gauge_interval=-1)


def test_it_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_PLUGINS", "otel")
    (found,) = [each for each in load_plugins(Soniq()).plugins if each.name == "otel"]
    assert (found.source, found.blocked) == ("discovered", None)


async def test_one_plugin_serves_one_app(make_app: MakeApp) -> None:
    plugin = OtelPlugin()
    await make_app(plugins=[plugin]).start()
    with pytest.raises(PluginError, match="make one for each"):
        await make_app(plugins=[plugin]).start()


async def test_a_closed_app_leaves_its_plugin_to_another(make_app: MakeApp) -> None:
    plugin = OtelPlugin()
    for _ in range(2):
        app = make_app(plugins=[plugin])
        await app.start()
        await app.close()
