"""Real stores for the tests: a folder, an S3 server and a Redis server, each of which can go away
and come back.
"""

import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import boto3
import redis
from moto.server import ThreadedMotoServer

SECRET = "s3cr3t-of-the-tests"
"""The password and secret key of these stores: it must appear nowhere."""

BUCKET = "results"


class Place(Protocol):
    """A store as someone sees it who looks behind the plugin's back."""

    url: str

    def names(self) -> set[str]:
        """The names of all objects."""
        ...

    def write(self, name: str, data: bytes) -> None: ...

    def remove(self, name: str) -> None: ...

    def stop(self) -> None:
        """The store is down from now on."""
        ...

    def start(self) -> None:
        """The store is back, with what it held."""
        ...


class Folder:
    """A folder; it is down while a file is in its place, as under a mount that was lost."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._away = folder.with_name(f"{folder.name}-away")
        self.url = f"file://{quote(str(folder))}"

    def names(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()}

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def stop(self) -> None:
        self.path.rename(self._away)
        self.path.touch()

    def start(self) -> None:
        self.path.unlink()
        self._away.rename(self.path)


class S3:
    """A bucket of an S3 server in a thread of this process; it is down while nothing listens."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self._port = port
        self.endpoint = f"http://{host}:{port}"
        self.url = f"s3://{BUCKET}/some/prefix"
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key=SECRET,
        )
        self._client.create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead obstore here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def names(self) -> set[str]:
        found = self._client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {each["Key"].removeprefix("some/prefix/") for each in found}

    def write(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=f"some/prefix/{name}", Body=data)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=f"some/prefix/{name}")

    def empty(self) -> None:
        for name in self.names():
            self.remove(name)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()


class Redis:
    """A Redis server that writes to disk; it is down while its process does not run."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._command = [
            program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--requirepass", SECRET, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
        ]  # fmt: skip
        self.url = f"redis://:{SECRET}@127.0.0.1:{port}/0"
        self._client = redis.Redis.from_url(self.url)
        self.start()

    def names(self) -> set[str]:
        return {key.decode() for key in self._client.scan_iter()}

    def write(self, name: str, data: bytes) -> None:
        self._client.set(name, data)

    def remove(self, name: str) -> None:
        self._client.delete(name)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self._client.ping()
                return
            except redis.ConnectionError:
                assert self._process.poll() is None, "the Redis server did not start"
                assert time.monotonic() < deadline, "the Redis server does not answer"
                time.sleep(0.02)

    def empty(self) -> None:
        self._client.flushall()

    def close(self) -> None:
        self._client.close()
        self.stop()
