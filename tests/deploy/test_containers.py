"""The image, its health check and the Compose file."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from klaviyo_relay_worker.cli.commands import cli
from ports import free_port
from tree import SOURCE


@pytest.fixture
def dockerfile(deploy):
    """Its text."""
    return (deploy / "docker" / "Dockerfile").read_text()


@pytest.fixture
def compose(yaml, deploy):
    """The Compose file, with its references resolved."""
    (found,) = yaml(deploy / "docker" / "compose.yaml")
    return found


def test_the_linter_has_nothing_to_say_of_the_dockerfile(tool, deploy):
    done = tool("hadolint")(deploy / "docker" / "Dockerfile")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_that_the_build_copies_is_there_and_let_in(dockerfile, deploy):
    ignored = (deploy / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", dockerfile)
        for source in line.split()[:-1]
        if not source.startswith("--")
    ]
    assert len(copied) >= 6
    for source in copied:
        assert (SOURCE / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_image_pins_the_lock_files_versions(dockerfile, deploy):
    script = re.search(r"(sed -n .+?) > versions\.txt", dockerfile).group(1)
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=deploy.parent, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("celery==5.7.") for line in lines)
    assert all(re.match(r"[a-z0-9._-]+==[^ \\]+( ;.*)?$", line) for line in lines)


def test_the_image_does_not_run_as_root(dockerfile):
    users = re.findall(r"(?m)^USER (\S+)$", dockerfile)
    assert users == ["10001:10001"]


@pytest.fixture
def healthy(deploy, stage):
    """Runs the health check of the worker at a port; gives its exit code."""

    def check(port, *arguments):
        done = subprocess.run(
            [sys.executable, "-I", deploy / "docker" / "healthy.py", *arguments],
            env={**stage.environment, "KLAVIYO_RELAY_METRICS_PORT": str(port)},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        return done.returncode

    return check


@pytest.fixture
def worker_port(stage, redis_url, sandbox, healthy):
    """Of a worker that was found dead before it was started."""
    port = free_port()
    assert healthy(port) == 1
    worker = stage.relay(
        "worker",
        KLAVIYO_RELAY_REDIS_URL=redis_url,
        KLAVIYO_RELAY_SPOOL_DIR=str(stage.directory / "spool"),
        KLAVIYO_RELAY_METRICS_PORT=str(port),
        KLAVIYO_API_URL=sandbox.url,
        KLAVIYO_API_KEY="pk_deploy",
    )
    worker.says(" ready.")
    return port


def test_a_worker_is_alive_without_redis_and_ready_with_it(
    healthy, worker_port, private_redis, until
):
    assert healthy(worker_port) == 0
    assert healthy(worker_port, "--ready") == 0
    private_redis.pause()
    try:
        # What was read within the last second is given again.
        until(lambda: healthy(worker_port, "--ready") == 1)
        assert healthy(worker_port) == 0
    finally:
        private_redis.resume()


def test_compose_keeps_to_its_specification(compose):
    specification = pytest.importorskip("compose_spec", reason="compose-spec is not installed")
    # By way of JSON, for it knows no merge keys (<<).
    found = specification.PyCompose.from_json(json.dumps(compose))
    assert set(found.to_dict()["services"]) == set(compose["services"])


def test_the_linter_finds_nothing_grave_in_compose(tool, deploy):
    done = tool("compose-lint")(deploy / "docker" / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_compose_mounts_what_is_there_and_names_what_it_declares(compose, deploy):
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (deploy / "docker" / source).exists(), (name, source)
            else:
                assert source in volumes, (name, source)


def test_compose_asks_for_every_secret_that_the_example_lists(compose, deploy):
    example = (deploy / "docker" / "env.example").read_text()
    listed = set(re.findall(r"(?m)^(\w+)=$", example))
    asked = set(re.findall(r"\$\{(\w+):", json.dumps(compose)))
    assert asked == listed


def test_compose_opens_ports_to_its_own_machine_alone(compose):
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_compose_starts_commands_that_exist_and_lets_them_drain(compose):
    started = {
        service["command"][0]: service
        for service in compose["services"].values()
        if service["image"] == "klaviyo-relay:0.1.0"
    }
    assert set(started) == {"worker", "dashboard"}
    assert set(started) - {"dashboard"} <= set(cli.commands)
    assert started["worker"]["stop_grace_period"] == "60s"
