"""Whole archives of a real server: they are those of the archive files, and read like columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from nomadquery import Nomad, Q
from nomadquery.columns.archive import Archive
from nomadquery.errors import MissingQuantity
from tests.real.archive_judge import Entry, World, read_world, same

PATHS: Final = (
    "formula",
    "gap",
    "energy",
    "forces",
    "mainfile",
    "uploaded",
    "results.material.topology.label",
    "run.calculation.energy.total.value in eV",
    "run[-1].system[-1].atoms.positions in angstrom",
    "run.calculation.system_ref.atoms.labels.size()",
    "results.properties.geometry_optimization.energies",
    "workflow2.results.calculation_result_ref.energy.total.value in eV",
    "data.name",
    "data.samples.name",
    "data.samples.reference.name",
)


@pytest.fixture(scope="module")
def world(real_documents: list[Entry]) -> World:
    return read_world(real_documents)


@pytest.fixture(scope="module")
def nomad(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


def test_streamed_archives_are_those_of_the_files(nomad: Nomad, world: World) -> None:
    """Of all public samples, in the order of their ids; nothing is lost or added."""
    seen: list[str] = []
    for archive in nomad.entries(Q.entry_id.isin(list(world.archives))).archives():
        seen.append(archive.entry_id)
        assert archive.data == world.archives[archive.entry_id], archive
        assert archive.upload_id == world.documents[archive.entry_id]["upload_id"]
    assert seen == sorted(world.archives)


def plain(value: Any) -> Any:
    """Return nested arrays as lists."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("path", PATHS)
def test_get_gives_what_a_table_holds(nomad: Nomad, world: World, path: str) -> None:
    """For every sample that has a value or not; units too."""
    search = nomad.entries(Q.entry_id.isin(list(world.archives)))
    typed = Q[path].unchecked() if path.startswith("data.") else path
    table = search.select(x=typed)
    rows = {row["entry_id"]: row["x"] for row in table.rows()}
    for archive in search.archives():
        value = plain(archive.get(typed))
        assert rows[archive.entry_id] == value or same(rows[archive.entry_id], value), archive
    units = {archive.unit(path) for archive in search.limit(3).archives()} if "data" not in path else set()
    assert units <= {table.to_pandas().attrs["units"].get("x")}


def test_references_into_other_entries_are_followed_on_access(nomad: Nomad, world: World) -> None:
    """The first samples with such inputs of a workflow: what comes is what stands at the target."""
    n_followed = 0
    for entry_id, content in world.archives.items():
        inputs = (content.get("workflow2") or {}).get("inputs") or []
        for place, one in enumerate(inputs):
            text = str(one.get("section", ""))
            target, _, path = text.partition("#")
            other = target.rpartition("/archive/")[2]
            if not target.startswith("../upload") or other not in world.archives or n_followed >= 8:
                continue
            item = nomad.entry(entry_id).archive({"workflow2": "*"}).workflow2.inputs[place]
            expected = at(world.archives[other], path)
            if expected is None:
                with pytest.raises(MissingQuantity, match="nothing at its target"):
                    _ = item.section
            else:
                assert item.section.to_dict() == expected
                n_followed += 1
    assert n_followed > 3


def at(content: Any, path: str) -> Any:
    """Return what stands at a path of names and positions; samples were trimmed, so it may be nothing."""
    for part in (one for one in path.split("/") if one):
        if isinstance(content, list):
            content = content[int(part)] if int(part) < len(content) else None
        else:
            content = (content or {}).get(part)
    return content


def test_a_local_reference_is_followed_without_a_request(nomad: Nomad, world: World) -> None:
    """Every ``system_ref`` of a calculation in 30 samples."""
    n_followed = 0
    for entry_id in sorted(world.archives)[:120]:
        archive: Archive = nomad.entry(entry_id).archive()
        if "run" not in archive:
            continue
        for calculation in archive.run[0].calculation if "calculation" in archive.run[0] else ():
            text = "" if calculation is None else calculation.to_dict().get("system_ref", "")
            if text.lstrip("#").startswith("/") and at(archive.data, text.lstrip("#")) is not None:
                assert calculation.system_ref.to_dict() == at(archive.data, text.lstrip("#"))
                n_followed += 1
    assert n_followed > 30
