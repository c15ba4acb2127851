import pytest

from klaviyo_relay.spool_place import UNSUITABLE, file_system_of, why_unsuitable

ROOT = "/dev/sda1 / ext4 rw,relatime 0 0"
# What stands in the table of mounts -> the type of the file system under /var/spool/relay.
TABLES = {
    "a machine's own disk": ([ROOT], "ext4"),
    "a container's own layer": (["overlay / overlay rw,lowerdir=/a 0 0"], "overlay"),
    "a volume in a container": (
        ["overlay / overlay rw 0 0", "/dev/vdb /var/spool xfs rw 0 0"],
        "xfs",
    ),
    "memory below a disk": ([ROOT, "tmpfs /var/spool/relay tmpfs rw 0 0"], "tmpfs"),
    "the longest mount point, wherever it stands": (
        ["tmpfs /var/spool tmpfs rw 0 0", ROOT, "/dev/sdb /var ext3 rw 0 0"],
        "tmpfs",
    ),
    "a later mount over an earlier one": (
        ["/dev/sdb /var/spool xfs rw 0 0", "tmpfs /var/spool tmpfs rw 0 0"],
        "tmpfs",
    ),
    "a neighbour whose name only begins alike": (
        [ROOT, "tmpfs /var/spo tmpfs rw 0 0", "tmpfs /var/spool/relay2 tmpfs rw 0 0"],
        "ext4",
    ),
    "no mount above it": (["proc /proc proc rw 0 0"], None),
    "an empty table": ([], None),
}


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        path = tmp_path / "mounts"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.mark.parametrize(("lines", "found"), TABLES.values(), ids=TABLES)
def test_the_file_system_under_a_path_is_that_of_its_nearest_mount_point(table, lines, found):
    assert file_system_of("/var/spool/relay", table(*lines)) == found


def test_a_mount_point_may_have_a_blank_in_its_name(table, tmp_path):
    mounts = table(ROOT, "tmpfs /var/my\\040spool tmpfs rw 0 0")

    assert file_system_of("/var/my spool/relay", mounts) == "tmpfs"


def test_a_link_leads_to_where_the_files_are(table, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    link = tmp_path / "link"
    link.symlink_to(disk)

    assert file_system_of(link / "spool", table(ROOT, f"tmpfs {disk} tmpfs rw 0 0")) == "tmpfs"


def test_a_system_without_such_a_table_does_not_tell(tmp_path):
    assert file_system_of(tmp_path, tmp_path / "no table") is None
    assert why_unsuitable(tmp_path, tmp_path / "no table") is None


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_a_place_that_does_not_last_is_told_with_its_reason(table, kind):
    said = why_unsuitable("/var/spool/relay", table(f"any / {kind} rw 0 0"))

    assert said == f"/var/spool/relay is on {kind}: {UNSUITABLE[kind]}"


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "apfs"])
def test_nothing_speaks_against_a_local_disk(table, kind):
    assert why_unsuitable("/var/spool/relay", table(f"any / {kind} rw 0 0")) is None
