"""A note that processes change in turn, and seats that end with their process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from nomadquery.store import shared
from nomadquery.store.shared import Shared, is_on_network
from tests.command_line import A_MINUTE, ROOT

MOUNTS = (
    "/dev/sda1 / ext4 rw 0 0\n"
    "tmpfs /run/user/1000 tmpfs rw 0 0\n"
    "server:/home /home nfs4 rw 0 0\n"
    "//server/share /mnt/my\\040share cifs rw 0 0\n"
    "/dev/sdb1 /home/local ext4 rw 0 0\n"
)
COUNTING = """
import sys
from pathlib import Path
from nomadquery.store.shared import Shared
shared = Shared(Path(sys.argv[1]))
for _ in range(200):
    shared.change(lambda note: str(int(note or 0) + 1).encode())
"""


@pytest.mark.parametrize(
    ("folder", "is_far"),
    [
        ("/run/user/1000/nomadquery", False),
        ("/home/ada/.cache", True),
        ("/home/local/scratch", False),
        ("/homes", False),
        ("/mnt/my share/x", True),
        ("//server/share", True),
    ],
)
def test_network_folders_are_told_by_the_nearest_mount(folder: str, is_far: bool) -> None:
    """The table of Linux: the longest mount point counts, blanks in it are octal."""
    assert is_on_network(Path(folder), MOUNTS) is is_far
    assert is_on_network(Path(folder), "") is folder.startswith("//")


def test_no_change_of_any_process_is_lost(tmp_path: Path) -> None:
    """Three processes add one 200 times each."""
    command = [sys.executable, "-c", COUNTING, str(tmp_path / "s")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=A_MINUTE) for process in processes] == [0, 0, 0]
    assert int(Shared(tmp_path / "s").read()) == 600


def test_a_shorter_note_leaves_nothing_of_the_longer(tmp_path: Path) -> None:
    """The rest is blank; a longer one than a block is whole."""
    note = Shared(tmp_path)
    for text in (b"x" * 10_000, b"[1]"):
        note.change(lambda _, text=text: text)  # type: ignore[misc] # the default binds the text
        assert note.read().rstrip() == text


def test_the_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    """Nobody else may read what is asked, or take a seat."""
    note = Shared(tmp_path / "deep" / "folder")
    note.change(lambda _: b"1")
    kept = [tmp_path / "deep" / "folder", *(tmp_path / "deep" / "folder").iterdir()]
    assert len(kept) == 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)


def test_a_seat_is_gone_with_its_owner(tmp_path: Path) -> None:
    """One that is held is not; one whose owner is no more is, and its file too; nonsense is, untouched."""
    here, other = Shared(tmp_path), Shared(tmp_path)
    seats = (here.seat, other.seat, "1-0123456789abcdef", "../../etc/passwd")
    assert here.gone(seats) == seats[2:]
    other_seat = other.seat
    del other
    assert here.gone([other_seat]) == (other_seat,)
    assert [path.stem for path in tmp_path.glob("*.seat")] == [here.seat]


def test_old_seats_are_swept_by_who_comes_next(tmp_path: Path) -> None:
    """A file that nobody holds for a minute is removed; held and new ones stay."""
    held = Shared(tmp_path)
    (left := tmp_path / "1-0123456789abcdef.seat").touch()
    (new := tmp_path / "2-0123456789abcdef.seat").touch()
    for path in (left, tmp_path / f"{held.seat}.seat"):
        os.utime(path, (time.time() - 100,) * 2)
    Shared(tmp_path)
    assert (left.exists(), new.exists()) == (False, True)
    assert (tmp_path / f"{held.seat}.seat").exists()


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_a_turn_that_is_never_given_back_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_descriptors: bool
) -> None:
    """A stopped process must not stop all; old and new versions of filelock keep each other out."""
    monkeypatch.setattr(shared, "_PATIENCE_S", 0.05)
    if not has_descriptors:
        monkeypatch.setattr(shared, "_take_turn", None)
    note = Shared(tmp_path)
    with FileLock(tmp_path / "note.lock"), pytest.raises(Timeout):
        note.change(lambda _: b"1")
    note.change(lambda _: b"2")
    assert note.read().strip() == b"2"


def test_a_network_folder_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks could do nothing."""
    (table := tmp_path / "mounts").write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(shared, "_MOUNTS", table)
    with pytest.raises(OSError, match="network file system"):
        Shared(tmp_path / "s")
    assert not (tmp_path / "s").exists()
