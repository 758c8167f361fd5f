"""Tables travel in one file to machines without a network; what is damaged or unsafe is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nomadquery import Q, cache
from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew, QueryError, UnsafeContent
from nomadquery.local.store import LocalStore
from nomadquery.store import tables
from nomadquery.store.files import sha256_of
from nomadquery.store.tables import TableStore
from tests.tables import CountedWire, a_search, ids, lost, lost_after
from tests.test_lock import from_lock
from tests.test_update import SECOND, put


@pytest.fixture
def wire() -> CountedWire:
    store = LocalStore()
    put(store, *ids(8))
    return CountedWire(store)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


def keys(folder: Path) -> list[str]:
    return list(cache.list_tables(folder)["key"])


def packed(wire: CountedWire, folder: Path) -> Path:
    """Return a pack of one table."""
    a_search(wire, folder).select("gap").to_arrow()
    return cache.pack(*keys(folder), to=folder / "t.nqpack", folder=folder)


def test_what_was_packed_is_given_offline_elsewhere(wire: CountedWire, here: Path, there: Path) -> None:
    """Several tables, a search inside one, and a lock."""
    inner = a_search(wire, here, Q.mainfile.isin([f"{one}/vasprun.xml" for one in ids(3)]))
    outer = a_search(wire, here, Q.entry_id.isin(inner)).select("gap", energy="energy")
    frame = outer.to_pandas()
    lock = outer.lock()
    pack = cache.pack(*keys(here), to=here / "t.zip", folder=here)
    done = cache.unpack(pack, folder=there)
    assert sorted(done["key"]) == sorted(keys(here))
    assert set(done["outcome"]) == {"unpacked"}
    shutil.rmtree(here)
    n_sent = len(wire.sent)
    inner = a_search(wire, there, Q.mainfile.isin([f"{one}/vasprun.xml" for one in ids(3)]), offline=True)
    again = a_search(wire, there, Q.entry_id.isin(inner), offline=True).select("gap", energy="energy")
    assert again.to_pandas().equals(frame)
    assert from_lock(wire, there, lock, offline=True).to_pandas().equals(frame)
    assert cache.verify(folder=there)["damage"].isna().all()
    assert len(wire.sent) == n_sent


def test_archives_travel_too(wire: CountedWire, here: Path, there: Path) -> None:
    """Into an empty folder, and beside others."""
    expected = [archive.data for archive in a_search(wire, here).archives()]
    pack = cache.pack(*keys(here), to=here / "t.zip", folder=here)
    next(iter(a_search(wire, there, Q.entry_id == "entry-0001").archives()))
    assert set(cache.unpack(pack, folder=there)["outcome"]) == {"unpacked"}
    found = [archive.data for archive in a_search(wire, there, offline=True).archives()]
    assert found == expected
    assert set(cache.unpack(pack, folder=there)["outcome"]) == {"here already"}


def test_a_newer_table_stays(wire: CountedWire, here: Path, there: Path) -> None:
    """An older one is replaced; the same one is left alone."""
    old = packed(wire, here)
    put(wire.store, "entry-0008")
    a_search(wire, there).select("gap").to_arrow()
    assert list(cache.unpack(old, folder=there)["outcome"]) == ["newer here"]
    assert len(a_search(wire, there, offline=True).select("gap").to_pandas()) == 9
    a_search(wire, here).select("gap").update()
    new = cache.pack(*keys(here), to=here / "new.zip", folder=here)
    assert list(cache.unpack(new, folder=there)["outcome"]) == ["unpacked"]
    assert list(cache.unpack(new, folder=there)["outcome"]) == ["here already"]
    assert len(a_search(wire, there, offline=True).select("gap").to_pandas()) == 9


def test_the_same_tables_make_the_same_pack(wire: CountedWire, here: Path) -> None:
    """Byte for byte, stored without compressing again."""
    first = packed(wire, here)
    second = cache.pack(keys(here)[0][:6], to=here / "again.zip", folder=here)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as pack:
        assert {member.compress_type for member in pack.infolist()} == {zipfile.ZIP_STORED}


def test_only_what_is_whole_is_packed(wire: CountedWire, here: Path) -> None:
    """And nothing is left where it is not."""
    table = a_search(wire, here).select("gap").page_size(3)
    wire.change = lost_after(wire, 2)
    with pytest.raises(Exception, match="6 of 8"):
        table.to_arrow()
    with pytest.raises(CacheError, match="is not complete"):
        cache.pack(*keys(here), to=here / "t.zip", folder=here)
    assert not (here / "t.zip").exists()
    with pytest.raises(QueryError, match="keys"):
        cache.pack(to=here / "t.zip", folder=here)


def test_a_damaged_table_is_not_packed(wire: CountedWire, here: Path) -> None:
    """Its hash is compared."""
    pack = packed(wire, here)
    harm(next((here / "tables").glob("*/table.parquet")))
    with pytest.raises(CacheCorrupt, match="SHA-256"):
        cache.pack(*keys(here), to=pack, folder=here)


def harm(path: Path) -> None:
    """Change a byte that no reader of Parquet looks at or misses."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def test_a_damaged_pack_is_refused(wire: CountedWire, here: Path, there: Path) -> None:
    """Wherever the damage is; but for bytes that mean nothing, such as the time of a member."""
    pack = packed(wire, here)
    whole, n_refused = pack.read_bytes(), 0
    rows = list(a_search(wire, here).select("gap").rows())
    for place in range(0, len(whole), 97):
        content = bytearray(whole)
        content[place] ^= 0xFF
        pack.write_bytes(content)
        try:
            cache.unpack(pack, folder=there)
        except (CacheCorrupt, UnsafeContent):
            n_refused += 1
            assert not there.exists()
        else:
            assert list(a_search(wire, there, offline=True).select("gap").rows()) == rows
            shutil.rmtree(there)
    assert n_refused > 0.8 * len(range(0, len(whole), 97))


@pytest.mark.parametrize("n_bytes", [0, 100, -10])
def test_a_pack_that_was_cut_is_refused(wire: CountedWire, here: Path, there: Path, n_bytes: int) -> None:
    """As after a copy that was stopped."""
    pack = packed(wire, here)
    pack.write_bytes(pack.read_bytes()[:n_bytes])
    with pytest.raises(CacheCorrupt, match="damaged, or no pack"):
        cache.unpack(pack, folder=there)
    assert not there.exists()


def rewritten(pack: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Return a pack whose members were changed by ``change``, the index made to fit."""
    with zipfile.ZipFile(pack) as old:
        members = {name: old.read(name) for name in old.namelist() if name != "pack.json"}
    change(members)
    other = pack.with_name("other.zip")
    index = json.loads(members.pop("index", b'{"format": 1}'))
    with zipfile.ZipFile(other, "w") as new:
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name), content)
        hashes = {}
        for name, content in members.items():
            (pack.parent / "one").write_bytes(content)
            hashes[name] = {"sha256": sha256_of(pack.parent / "one"), "size_bytes": len(content)}
        new.writestr(zipfile.ZipInfo("pack.json"), json.dumps({"files": hashes} | index))
    return other


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json",
        "/etc/passwd",
        "tables/../../outside",
        f"tables/{'a' * 32}/../../../x.parquet",
        f"tables/{'a' * 32}/.lock",
        f"tables/{'A' * 32}/manifest.json",
        "deployments/../x.json",
        "C:\\x",
        "extra.txt",
        "tables/",
    ],
)
def test_names_that_belong_nowhere_are_refused(wire: CountedWire, here: Path, there: Path, name: str) -> None:
    """Nothing is unpacked, not even what is in order."""
    pack = rewritten(packed(wire, here), lambda members: members.update({name: b"{}"}))
    with pytest.raises(UnsafeContent, match="Nothing was unpacked"):
        cache.unpack(pack, folder=there)
    assert not there.exists()


def test_what_contradicts_itself_is_refused(wire: CountedWire, here: Path, there: Path) -> None:
    """A table without a file, or with another one; a newer format; compressed members."""
    pack = packed(wire, here)
    key = keys(here)[0]
    name = f"tables/{key}/table.parquet"

    def leave_out(members: dict[str, bytes]) -> None:
        del members[name]

    with pytest.raises(CacheCorrupt, match="not whole"):
        cache.unpack(rewritten(pack, leave_out), folder=there)
    with pytest.raises(CacheCorrupt, match="SHA-256"):
        cache.unpack(rewritten(pack, lambda members: members.update({name: b"other"})), folder=there)
    newer = rewritten(pack, lambda members: members.update({"index": b'{"format": 99}'}))
    with pytest.raises(CacheFormatTooNew, match="Update nomadquery"):
        cache.unpack(newer, folder=there)
    with zipfile.ZipFile(here / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("pack.json", b"0" * 10_000_000)
    with pytest.raises(UnsafeContent):
        cache.unpack(here / "bomb.zip", folder=there)
    assert keys(there) == []


# -- hashes --------------------------------------------------------------------------------


def test_verify_compares_hashes(wire: CountedWire, here: Path) -> None:
    """Also of what no row shows."""
    packed(wire, here)
    pins = next((here / "tables").glob("*/pins.parquet"))
    harm(pins)
    damage = cache.verify(folder=here)["damage"]
    assert damage.str.contains(r"pins.parquet is not what was written").all()


def test_after_an_unclean_end_hashes_are_compared_once(
    wire: CountedWire, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A begun refresh beside the table, or a file of a killed process."""
    table = a_search(wire, here).select("gap").page_size(3)
    table.to_arrow()
    hashed: list[Path] = []

    def counting(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(tables, "sha256_of", counting)
    table.to_arrow()
    assert hashed == []
    wire.change = lost
    with pytest.raises(Exception, match="connection"):
        table.to_arrow(refresh=True)
    wire.change = None
    for _ in range(3):
        assert len(table.to_arrow()) == 8
        assert len(hashed) == 2
    folder = next((here / "tables").iterdir())
    (folder / ".table.parquet.abc.part").write_bytes(b"half")
    for _ in range(2):
        a_search(wire, here, offline=True).select("gap").to_arrow()
        assert len(hashed) == 4


def test_damage_after_an_unclean_end_is_found_before_the_table_is_given(
    wire: CountedWire, here: Path
) -> None:
    """Online it is fetched again; offline it is an error."""
    table = a_search(wire, here).select("gap")
    table.to_arrow()
    folder = next((here / "tables").iterdir())
    (folder / ".x.part").write_bytes(b"")
    harm(folder / "pins.parquet")
    with pytest.raises(CacheCorrupt, match="SHA-256"):
        table.to_arrow(offline=True)
    with pytest.warns(UserWarning, match="It is fetched again"):
        assert len(table.to_arrow()) == 8
    assert TableStore(folder).whole() is not None
    assert cache.verify(folder=here)["damage"].isna().all()


def test_a_pack_brings_the_release_of_its_deployment(wire: CountedWire, here: Path, there: Path) -> None:
    """A later note stays."""
    pack = packed(wire, here)
    cache.unpack(pack, folder=there)
    (note,) = (there / "deployments").iterdir()
    assert json.loads(note.read_text())["release"] == "2.0.0"
    later = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
    note.write_text(json.dumps({"release": "1.4.3", "asked_at_s": later}))
    cache.unpack(pack, folder=there)
    assert json.loads(note.read_text())["release"] == "1.4.3"
    put(wire.store, "entry-0001", last_processing_time=SECOND)
