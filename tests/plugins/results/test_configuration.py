"""What is configured is checked when the plugin is made, with errors that say what to do and show
no credentials.
"""

import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from soniq import ConfigurationError, Soniq
from soniq_results import ResultsPlugin
from tests.conftest import MakeApp
from tests.plugins.results.places import SECRET, Folder, Redis
from tests.plugins.results.support import AppWith, Run


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/x", "url= begins with one of s3://, gs://, .* this is ftp://..."),
        (f"{SECRET}", "url= begins with one of s3://, .* this is no such URL"),
        (
            f"s3://key:{SECRET}@bucket",
            "which are not read from a s3:// URL; set them in AWS_. environment variables",
        ),
        (f"gs://bucket?token={SECRET}", "set them in GOOGLE_. environment variables"),
        (f"az://container#{SECRET}", "set them in AZURE_. environment variables"),
        ("s3:///prefix", "names no bucket: s3://bucket/prefix"),
        ("file://folder/x", "file:///folder, with three slashes"),
        ("file:///", "names no folder"),
        (f"redis://:{SECRET}@host:port", "is a URL that cannot be read"),
        (f"redis://:{SECRET}@[host", "is a URL that cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        ResultsPlugin(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"redis://:{SECRET}@127.0.0.1:1/0?no_such_option=1", "no_such_option"),
        ("az://container/prefix", "Account must be specified"),
    ],
)
async def test_what_only_the_driver_can_tell_ends_the_start(
    url: str, says: str, app_with: AppWith
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"the store of results .* cannot be used: .*{says}"
    ) as caught:
        await app_with(url).start()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_folder_that_cannot_be_made_ends_the_start(
    app_with: AppWith, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigurationError, match=r"the store of results file://\S+/file/folder cannot be used"
    ):
        await app_with(f"file://{tmp_path}/file/folder").start()


def test_redis_without_its_extra_says_what_to_install() -> None:
    program = """
import sys
sys.modules["redis"] = None
from soniq_results import ResultsPlugin
ResultsPlugin("redis://host")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "url= leads to Redis, which needs: pip install 'soniq-results[redis]'" in done.stderr
    assert "ConfigurationError" in done.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", -1),
        ("threshold", 1.5),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("grace", 119),
        ("timeout", timedelta(0)),
        ("threshold", [1]),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ResultsPlugin("memory://", **{field: value})
    assert f"{field}= {value!r} cannot be used" in str(caught.value)


def test_a_timedelta_is_taken_for_seconds() -> None:
    ResultsPlugin("memory://", timeout=timedelta(seconds=5), grace=timedelta(hours=1))


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_variable_that_cannot_be_used_is_named(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_RESULTS_THRESHOLD", value)
    with pytest.raises(
        ConfigurationError, match=f"SONIQ_RESULTS_THRESHOLD '{value}' cannot be used"
    ):
        ResultsPlugin("memory://")


def test_a_url_in_the_environment_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONIQ_RESULTS_URL", "ftp://host")
    with pytest.raises(ConfigurationError, match="SONIQ_RESULTS_URL begins with"):
        ResultsPlugin()


async def test_the_environment_configures_it_and_arguments_win(
    make_app: MakeApp, run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_RESULTS_URL", folder.url)
    monkeypatch.setenv("SONIQ_RESULTS_THRESHOLD", "10")

    async def stored(plugin: ResultsPlugin) -> int:
        app, before = make_app(plugins=[plugin]), len(folder.names())

        @app.job(name="text")
        async def text() -> str:
            return "x" * 20

        assert (await run(app, text))["status"] == "done"
        return len(folder.names()) - before

    assert await stored(ResultsPlugin()) == 1
    assert await stored(ResultsPlugin(threshold=100)) == 0
    assert await stored(ResultsPlugin(url="memory://")) == 0


async def test_it_is_found_where_it_is_installed(
    database_url: str, schema: str, run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_PLUGINS", "results")
    monkeypatch.setenv("SONIQ_RESULTS_URL", folder.url)
    async with Soniq(database_url, schema=schema) as app:

        @app.job(name="text")
        async def text() -> str:
            return "x" * 100_000

        status = await run(app, text)
        assert len(folder.names()) == 1
        assert await app.get_result(status["job_id"]) == "x" * 100_000


def test_its_repr_shows_no_credentials(redis: Redis) -> None:
    assert (
        repr(ResultsPlugin(redis.url)) == f"<ResultsPlugin redis://{redis.url.rpartition('@')[2]}>"
    )
    assert repr(ResultsPlugin()) == "<ResultsPlugin without a URL>"


async def test_one_plugin_does_not_serve_two_apps(make_app: MakeApp) -> None:
    plugin = ResultsPlugin("memory://")
    await make_app(plugins=[plugin]).start()
    with pytest.raises(
        Exception, match="one ResultsPlugin was passed to two apps; make one for each"
    ):
        await make_app(plugins=[plugin]).start()
