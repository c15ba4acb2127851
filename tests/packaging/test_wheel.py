"""What is in the wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

PACKAGES = ("producer/klaviyo_relay", "worker/klaviyo_relay_worker")
# What a package holds beside Python: its scripts, the dashboard's pages, the demo's sample.
KINDS = {".py", ".typed", ".lua", ".html", ".css", ".js", ".txt"}


def contents(wheel: Path) -> dict[str, int]:
    """Checksum of each file in it, without those about the distribution."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: info.CRC for info in archive.infolist()}
    return {name: crc for name, crc in files.items() if ".dist-info/" not in name}


def package_files(tree: Path) -> set[str]:
    files = (path for package in PACKAGES for path in (tree / package).rglob("*"))
    return {
        "/".join(path.relative_to(tree).parts[1:])
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_files_of_the_two_packages_and_nothing_else(
    wheel: Path, tree: Path
) -> None:
    assert set(contents(wheel)) == package_files(tree)


def test_the_wheel_holds_scripts_pages_and_type_markers_but_no_tests(wheel: Path) -> None:
    names = set(contents(wheel))

    assert {f".{name.rpartition('.')[2]}" for name in names} == KINDS
    assert {"klaviyo_relay/py.typed", "klaviyo_relay_worker/py.typed"} <= names
    assert "klaviyo_relay/scripts/ship.lua" in names
    assert "klaviyo_relay_worker/dashboard/templates/page.html" in names
    assert not {name for name in names if "test_" in name or "conftest" in name}


def test_the_wheel_is_marked_for_any_python_3_and_system(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, wheel_of_sdist: Path) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)
    assert wheel_of_sdist.name == wheel.name


def test_the_source_distribution_carries_the_same_metadata(
    wheel: Path, wheel_of_sdist: Path
) -> None:
    def metadata(path: Path) -> bytes:
        with zipfile.ZipFile(path) as archive:
            [name] = (name for name in archive.namelist() if name.endswith("/METADATA"))
            return archive.read(name)

    assert metadata(wheel_of_sdist) == metadata(wheel)
