"""Which file system the servers of a benchmark keep their data on."""

from pathlib import Path

import pytest

from benchmarks.places import file_system_of

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
/dev/vdb /data ext4 rw 0 0
/dev/vdc /data/fast xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp", "ext4 without a journal"),
        ("/dev/shm/run", "tmpfs"),
        ("/data", "ext4"),
        ("/database", "ext4 without a journal"),
        ("/data/fast/run", "xfs"),
    ],
)
def test_the_innermost_mount_decides(path: str, kind: str, tmp_path: Path) -> None:
    """The file system is that of the innermost mount, and ext4 without a journal is named:
    files cost more there from run to run.
    """
    mounts, journals = tmp_path / "mounts", tmp_path / "jbd2"
    mounts.write_text(MOUNTS)
    (journals / "vdb-8").mkdir(parents=True)

    found = file_system_of(Path(path), mounts, journals)

    assert kind == found


def test_a_volume_has_its_journal_under_the_name_of_its_device(tmp_path: Path) -> None:
    """A mount has the name that a person gave to a volume, and the journal's folder the
    kernel's name.
    """
    mounts, journals, volume = tmp_path / "mounts", tmp_path / "jbd2", tmp_path / "vg-root"
    volume.symlink_to(tmp_path / "dm-0")
    mounts.write_text(f"{volume} / ext4 rw 0 0\n")
    (journals / "dm-0-8").mkdir(parents=True)

    found = file_system_of(Path("/tmp"), mounts, journals)

    assert "ext4" == found
