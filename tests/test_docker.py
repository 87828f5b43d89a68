"""What the files for Docker say, done in a virtual environment: no Docker engine is needed."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import sample
from typing import Any

import pytest
from docker_files import DOCKER, INSTALLS, ROOT, Image, build, named, services, stages
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from processes import wait_for

from pystack3d_dask import __version__

PORTS = re.compile(r"\b(8786|8787|8788|8888)\b")
PINS_NEED = (3, 11, 5)  # of Python, for soupsieve; the image has a later one
NOT_EPHEMERAL = iter(sample(range(16000, 32000), 200))  # each is taken once
SERVICES = ["scheduler", "worker", "gpu-worker", "jupyter"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if sys.version_info < PINS_NEED:
        pytest.skip(f"the packages that are pinned need Python {'.'.join(map(str, PINS_NEED))}")
    folder = tmp_path_factory.mktemp("docker")
    yield build(folder)
    shutil.rmtree(folder)  # more than a gigabyte


def test_the_base_image_is_pinned_to_a_release_that_the_package_supports() -> None:
    (base,) = named("FROM")
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+ AS cpu", base.text)
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_the_image_for_gpus_is_the_other_one_with_cuda() -> None:
    assert [each.text for each in named("FROM", "cuda12")] == ["cpu AS cuda12"]
    (install,) = named("RUN", "cuda12")
    assert {".[gpu-cuda12]", "cupy-cuda12x[ctk]"} <= set(install.words)


def test_containers_run_without_privileges_and_print_help_by_default() -> None:
    for stage in stages().values():
        names = [each.name for each in stage]
        users = [i for i, name in enumerate(names) if name == "USER"]
        assert stage[users[-1]].text == "stack"
        assert users[-1] > max(i for i, name in enumerate(names) if name == "RUN")
    assert [each.words for each in named("ENTRYPOINT")] == [["pystack3d-dask"]]
    assert [each.words for each in named("CMD")] == [["--help"]]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}
    copied = {source for each in named("COPY") for source in each.words[:-1]}
    assert copied == admitted
    assert all((ROOT / source).exists() for source in copied)


def test_what_is_not_followed_here_only_makes_the_user_and_the_directory() -> None:
    others = [each.text for each in named("RUN") if not INSTALLS.search(each.text)]
    assert [re.findall(r"(?:^|&& )(\w+)", text) for text in others] == [["useradd", "install"]]


def constraints() -> dict[str, str]:
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    assert all(equals for _, equals, _ in pins)
    return {canonicalize_name(name): version for name, _, version in pins}


def test_every_installation_keeps_to_the_pins() -> None:
    lines = [each.text for stage in stages() for each in named("RUN", stage)]
    installs = [line for line in lines if INSTALLS.search(line)]
    assert len(installs) == len(stages())
    assert all("--constraint constraints.txt" in line for line in installs)


def test_pins_are_there_for_what_the_package_needs_and_within_its_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = constraints()
    for line in [*project["dependencies"], *extras["notebook"], *extras["gpu-cuda12"]]:
        needed = Requirement(line)
        assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), line


@pytest.mark.slow
def test_nothing_is_installed_but_what_is_pinned(image: Image) -> None:
    printed = image.run("python", "-m", "pip", "list", "--format", "json", "--exclude", "pip")
    found = {canonicalize_name(each["name"]): each["version"] for each in json.loads(printed)}
    del found["pystack3d-dask"]
    found.pop("setuptools", None)  # of the environment, as pip
    assert len(found) > 50
    assert found.items() <= constraints().items()


def test_the_compose_file_keeps_to_the_published_schema() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, str(DOCKER / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_a_scheduler_workers_and_jupyter_and_gpus_on_request() -> None:
    profiles = {name: service.get("profiles") for name, service in services().items()}
    assert profiles == {"scheduler": None, "worker": None, "gpu-worker": ["gpu"], "jupyter": None}


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_the_images_of_this_release(name: str) -> None:
    service = services()[name]
    stage = "cuda12" if name == "gpu-worker" else "cpu"
    assert service["image"] == f"pystack3d-dask:{__version__}-{stage}"
    assert (DOCKER / service["build"]["context"]).resolve() == ROOT
    assert service["build"]["dockerfile"] == "docker/Dockerfile"
    assert service["build"]["target"] == stage
    assert stage in stages()


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_privileges(name: str) -> None:
    service = services()[name]
    assert service["user"] == "${STACK_UID:-1000}:${STACK_GID:-1000}"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_watched_and_started_again(name: str) -> None:
    service = services()[name]
    assert service["init"] is True
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_all_see_the_projects_under_the_same_path(name: str) -> None:
    (volume,) = services()[name]["volumes"]
    assert (volume["type"], volume["target"]) == ("bind", "/data")
    assert volume["source"].startswith("${STACK_DATA:?")  # which has to be set


def test_ports_are_published_to_this_machine_only_and_the_scheduler_not_at_all() -> None:
    ports = {name: service.get("ports", []) for name, service in services().items()}
    assert ports == {
        "scheduler": ["127.0.0.1:8787:8787"],
        "worker": [],
        "gpu-worker": [],
        "jupyter": ["127.0.0.1:8888:8888"],
    }
    assert all(service["networks"] == ["cluster"] for service in services().values())


def test_the_file_holds_no_secret() -> None:
    assert services()["jupyter"]["environment"]["JUPYTER_TOKEN"] is None  # handed on
    text = (DOCKER / "compose.yaml").read_text()
    assert not re.findall(r"(?i)(?:password|secret|token)\w*\s*[:=]\s*[^\s#]", text)


def test_workers_for_gpus_get_one_and_say_so() -> None:
    service = services()["gpu-worker"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert len(device["device_ids"]) == 1
    assert service["command"] == ["--resources", "GPU=1"]
    assert service["entrypoint"] == services()["worker"]["entrypoint"]


@pytest.mark.slow
def test_the_entry_point_is_that_of_the_installed_package(image: Image) -> None:
    assert __version__ in image.entry("--version")
    (default,) = named("CMD")
    assert "PROJECT" in image.entry(*default.words)
    where = image.run("python", "-c", "import pystack3d_dask; print(pystack3d_dask.__file__)")
    assert Path(where.strip()).is_relative_to(image.root.parent / "venv")


def free_port() -> str:
    """Return a port that is free, and is not given to those who ask for any."""
    return str(next(filter(is_free, NOT_EPHEMERAL)))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Composed:
    """The services of the compose file by its words, on loopback and on ports that are free."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._shared = {port: free_port() for port in ("8786", "8787", "8888")}

    def port(self, published: str) -> str:
        return self._shared[published]

    def here(self, text: str, own: str) -> str:
        """Put loopback in place of the network of the containers."""
        ports = self._shared | {"8788": own}
        text = text.replace("//scheduler:", "//127.0.0.1:").replace("0.0.0.0", "127.0.0.1")
        return PORTS.sub(lambda found: ports[found[0]], text)

    @contextmanager
    def started(self, name: str, *more: str) -> Iterator[None]:
        """Start a service, wait until its health check succeeds, and see it fail after the end."""
        service, own = services()[name], free_port()
        words = [*service["entrypoint"], *service.get("command", [])]
        given = {key: value for key, value in service["environment"].items() if value is not None}
        environment = {key: self.here(value, own) for key, value in given.items()}
        check = service["healthcheck"]["test"][1:]

        def healthy() -> bool:
            return self._image.done(check, environment).returncode == 0

        assert not healthy()
        command = [self.here(word, own) for word in words]
        with self._image.started([*command, *more], environment) as process:
            wait_for(lambda: healthy() or process.poll() is not None)
            assert process.poll() is None
            yield
        assert not healthy()


@pytest.fixture(scope="module")
def composed(image: Image) -> Iterator[Composed]:
    cluster = Composed(image)
    with cluster.started("scheduler"):
        yield cluster


@pytest.mark.slow
def test_a_run_on_the_workers_of_the_compose_file(image: Image, composed: Composed) -> None:
    small = ["--size", "64", "--slices", "6", "--workers", "0"]
    assert "distance to the truth" in image.entry("demo", "stack", *small)
    scheduler = f"tcp://127.0.0.1:{composed.port('8786')}"
    with composed.started("worker"), composed.started("gpu-worker"):
        joined = (
            "from distributed import Client\n"
            f"with Client({scheduler!r}) as client:\n"
            "    client.wait_for_workers(2, 60)\n"
            "    workers = client.scheduler_info(n_workers=-1)['workers'].values()\n"
            "    print(sorted(worker['resources'].get('GPU', 0) for worker in workers))\n"
            "    print({worker['nthreads'] for worker in workers})"
        )
        assert image.run("python", "-c", joined).splitlines() == ["[0, 1.0]", "{1}"]
        printed = image.entry("run", "stack", "--restart", "--yes", "--scheduler", scheduler)
    assert "result.zarr" in printed


@pytest.mark.slow
def test_jupyter_asks_for_a_token_and_shows_the_dashboard(
    image: Image, composed: Composed, tmp_path: Path
) -> None:
    image.environment["JUPYTER_RUNTIME_DIR"] = str(tmp_path)
    # the tests may run as root, a container does not
    with composed.started("jupyter", "--allow-root"):
        (info,) = tmp_path.glob("jpserver-*.json")
        token = json.loads(info.read_text())["token"]
        assert len(token) >= 32
        base = f"http://127.0.0.1:{composed.port('8888')}"
        with pytest.raises(urllib.error.HTTPError) as refused:
            answer(f"{base}/api/contents")
        assert refused.value.code == 403
        refused.value.close()
        assert "content" in answer(f"{base}/api/contents?token={token}")
        proxied = f"{base}/proxy/127.0.0.1:{composed.port('8787')}"
        plots = answer(f"{proxied}/individual-plots.json?token={token}")
        assert "Individual Task Stream" in plots
    listed = image.done(["jupyter", "labextension", "list"])
    assert re.search(r"dask-labextension.*enabled.*OK", listed.stdout + listed.stderr)
    allowed = " ".join(services()["jupyter"]["entrypoint"])
    assert "'scheduler'" in allowed


def answer(link: str) -> Any:
    with urllib.request.urlopen(link, timeout=30) as response:
        return json.loads(response.read())
