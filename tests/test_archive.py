"""`Archive`: by path as columns are, by attribute as the JSON is, through references."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from nomadquery import Q
from nomadquery.columns.archive import Archive, archive_of
from nomadquery.columns.extract import SectionItems, extract
from nomadquery.columns.plan import plan_column
from nomadquery.columns.reach import Found
from nomadquery.columns.references import Wish
from nomadquery.columns.sections import Section, Sections
from nomadquery.errors import MissingQuantity, NotExpressible, QuantityNotFound, QueryError, UnitError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.strategies import json_values, run_archives, run_columns

EV = 1.602176634e-19  # joule; SI 2019
OTHER = "b" * 28


def content() -> dict[str, Any]:
    calculations = [
        {"energy": {"total": {"value": -2 * EV}}, "system_ref": "#/run/0/system/1"},
        {"energy": {"total": {"value": -3 * EV}}, "forces": {"total": {"value": [[0, 0, 1], [0, 0, 2]]}}},
        {"dos_electronic": [{"energies": [1, 2]}]},
    ]
    systems = [{"atoms": {"labels": ["Ti"] * n, "positions": [[0, 0, n * 1e-10]] * n}} for n in (1, 2)]
    return {
        "metadata": {
            "entry_id": "a" * 28,
            "mainfile": "x/OUTCAR",
            "upload_create_time": "2024-01-02T03:04:05",
        },
        "run": [{"program": {"name": "VASP"}, "calculation": calculations, "system": systems}],
        "results": {"properties": {"electronic": {"band_gap": [{"value": EV}, {"type": "direct"}]}}},
        "data": {
            "m_def": "../upload/raw/schema.yaml#/definitions/section_definitions/0",
            "sample": f"../upload/archive/{OTHER}#/data",
            "spectrum": [[1, 2.5], [3, 4]],
            "file": "/run/INCAR",
            "unit": "K",
        },
    }


@pytest.fixture
def archive() -> Archive:
    return Archive("a" * 28, "upload-1", content())


# -- by path -------------------------------------------------------------------------------


def test_a_number_comes_in_the_unit_that_is_asked_for(archive: Archive) -> None:
    """Without one as it is stored, with a short name in its customary unit."""
    path = "run[-1].calculation.energy.total.value.last()"
    assert archive.get(f"{path} in eV") == pytest.approx(-3, rel=1e-12)
    assert archive.get(path) == -3 * EV
    assert archive.get(Q.gap) == pytest.approx(1, rel=1e-12)
    units = [archive.unit(one) for one in (path, f"{path} in eV", "gap", "formula")]
    assert units == ["joule", "eV", "eV", None]


def test_arrays_have_their_full_shape(archive: Archive) -> None:
    """One for each item of a repeating section; texts stay lists."""
    forces = archive.get("run[0].calculation.forces.total.value")
    assert [None if one is None else (one.shape, one.dtype) for one in forces] == [
        None,
        ((2, 3), np.dtype("float64")),
        None,
    ]
    assert archive.get("run[0].system[1].atoms.positions in angstrom").tolist() == [[0, 0, 2]] * 2
    assert archive.get("run[0].system[1].atoms.labels") == ["Ti", "Ti"]
    assert archive.get("data.spectrum").tolist() == [[1, 2.5], [3, 4]]


def test_names_of_the_index_are_read_from_the_metadata(archive: Archive) -> None:
    """Also with ``metadata`` before them; times become times."""
    assert archive.get("mainfile") == archive.get("metadata.mainfile") == "x/OUTCAR"
    assert archive.get("uploaded").isoformat() == "2024-01-02T03:04:05+00:00"


def test_what_is_not_there_is_the_default(archive: Archive) -> None:
    """What nobody knows is an error, a section none that a column could hold."""
    assert archive.get("run[5].program.name") is None
    assert archive.get("functional", default="?") == "?"
    with pytest.raises(QuantityNotFound, match=r"run\.program\.name"):
        archive.get("run.programme.name")
    with pytest.raises(UnitError):
        archive.get("formula in eV")
    with pytest.raises(NotExpressible, match="select one of its quantities"):
        archive.get("run.program")


def test_references_on_the_way_are_followed(archive: Archive) -> None:
    """A calculation without one has none."""
    sizes = archive.get("run[0].calculation.system_ref.atoms.labels.size()")
    assert sizes == [2, None, None]


def test_a_reference_that_dangles_has_its_reason() -> None:
    """The value is none."""
    broken = content()
    broken["run"][0]["calculation"][0]["system_ref"] = "/run/0/system/9"
    archive = Archive("a" * 28, "upload-1", broken)
    path = "run[0].calculation[0].system_ref.atoms.labels"
    assert archive.get(path) is None
    assert archive.problems(path) == [
        "the reference '/run/0/system/9' leads nowhere: there is nothing at its target"
    ]
    with pytest.raises(MissingQuantity, match=r"calculation\[0\].system_ref refers to '/run/0/system/9'"):
        _ = archive.run[0].calculation[0].system_ref


def plain(value: Any) -> Any:
    """Return nested arrays and items as lists, NaN as the null that it was."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, SectionItems | list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@given(run_archives(), run_columns())
def test_get_is_what_a_column_extracts(document: dict[str, Any], drawn: tuple[str, str, str, str]) -> None:
    """Whatever brackets and rules; in the stored unit, nulls in arrays as NaN."""
    outer, inner, quantity, rule = drawn
    text = f"run{outer}.calculation{inner}.{quantity}{rule}"
    path, column_rule, _ = read_column(text)
    column = plan_column(Column("x", path, column_rule), catalogue_for())
    expected = extract(document, replace(column, source="archive"), catalogue_for())
    found = plain(Archive("", "", document).get(text))
    assert found == (plain(expected) if expected is not None else None)


@given(json_values())
def test_a_custom_quantity_comes_as_it_is(value: Any) -> None:
    """Whatever JSON it is; lists of numbers become arrays."""
    found = Archive("e", "u", {"data": {"x": value}}).get("data.x")
    assert plain(found) == value or str(value)[:4].isdecimal()  # a text that is a time becomes one


# -- by attribute --------------------------------------------------------------------------


def test_attributes_lead_through_sections(archive: Archive) -> None:
    """Numbers in the stored unit, arrays as NumPy arrays, brackets for what Python takes for itself."""
    assert archive.run[-1].calculation[1].energy.total.value == -3 * EV
    assert archive.run[0].calculation[1].forces.total.value.tolist() == [[0, 0, 1], [0, 0, 2]]
    assert archive.run[0].system[0].atoms.positions.dtype == np.dtype("float64")
    assert archive["data"].unit == "K"
    assert [len(one.atoms.labels) for one in archive.run[0].system] == [1, 2]
    assert [one.energy.total.value for one in archive.run[0].calculation[:2]] == [-2 * EV, -3 * EV]


def test_sections_tell_what_they_have(archive: Archive) -> None:
    """By ``in``, ``len``, iteration, ``dir`` and repr; `to_dict` gives the JSON."""
    run = archive.run[0]
    assert isinstance(archive.run, Sections) and isinstance(run, Section)
    assert list(run) == ["program", "calculation", "system"]
    assert "program" in run and "method" not in run and len(run) == 3
    assert {"program", "to_dict"} <= set(dir(run)) and {"run", "get"} <= set(dir(archive))
    assert run.program.to_dict() == {"name": "VASP"}
    assert len(archive.run[0].calculation.to_list()) == 3
    assert repr(run) == f"<run[0] of {'a' * 28}: program, calculation, system>"
    assert repr(archive) == f"<archive of {'a' * 28}: metadata, run, results, data>"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda a: a.rnu.x, r"has no rnu: the archive has no 'rnu'. Nearest: run"),
        (lambda a: a.run[0].calculation[0].enrgy.total, r"run\[0\].calculation\[0\].enrgy.*Nearest: energy"),
        (lambda a: a.run[0].method, r"The schema knows it, this entry does not have it"),
        (lambda a: a.run[3].program, r"no run\[3\]: run has 1 items"),
        (lambda a: a.run.program, r"run is a list of 1 items; choose one, as in run\[-1\].program"),
    ],
)
def test_the_first_absent_step_is_named(archive: Archive, read: Any, message: str) -> None:
    """With what is there in its place."""
    with pytest.raises(MissingQuantity, match=message):
        read(archive)
    assert not hasattr(archive, "nexus")


def test_a_local_reference_is_followed_when_it_is_read(archive: Archive) -> None:
    """A path on somebody's disk is none, and classes stay names."""
    assert archive.run[0].calculation[0].system_ref.atoms.labels == ["Ti", "Ti"]
    assert archive["data"].file == "/run/INCAR"
    assert archive["data"].m_def.startswith("../upload/raw")


def fetched(asked: list[Wish]) -> Any:
    """Return how another entry is given; ``asked`` gets what was looked for."""
    data = {"name": "film", "substrate": "#/data/parts/0", "parts": [{"name": "glass"}], "gone": "#/data/no"}

    def fetch(wishes: Collection[Wish]) -> Found:
        asked.extend(wishes)
        return Found(parts=[(OTHER, {"data": "*"}, {"data": data})])

    return fetch


def test_other_entries_are_asked_for_once(archive: Archive) -> None:
    """References in them lead on from there, not from the entry that refers to them."""
    asked: list[Wish] = []
    archive = archive_of("a" * 28, "upload-1", content(), fetch=fetched(asked))
    assert asked == []
    sample = archive["data"].sample
    assert (sample.name, sample.substrate.name) == ("film", "glass")
    assert archive.get("data.sample.name") == "film"
    assert [(wish.entry_id, wish.path) for wish in asked] == [(OTHER, ("data",))]
    with pytest.raises(MissingQuantity, match=f"Entry {OTHER}: data.sample.gone refers to '#/data/no'"):
        _ = sample.gone


def test_a_circle_of_references_ends() -> None:
    """It is told."""
    archive = Archive("e", "u", {"data": {"x": "#/data/y", "y": "#/data/x"}})
    with pytest.raises(MissingQuantity, match="leads in a circle"):
        _ = archive["data"].x


def test_parts_that_were_not_asked_for_are_fetched_when_a_reference_leads_there() -> None:
    """With ``required`` for calculations alone, the system of one is asked for."""
    whole, asked = content(), list[Wish]()
    part = {"run": [{"calculation": whole["run"][0]["calculation"]}]}

    def fetch(wishes: Collection[Wish]) -> Found:
        asked.extend(wishes)
        return Found(parts=[("a" * 28, {"run": "*"}, {"run": whole["run"]})])

    required = {"run": {"calculation": "*"}}
    archive = archive_of("a" * 28, "upload-1", part, required=required, fetch=fetch)
    assert archive.run[0].calculation[0].system_ref.atoms.labels == ["Ti", "Ti"]
    assert len(asked) == 1


# -- as a value ----------------------------------------------------------------------------


def test_an_archive_is_a_value(archive: Archive) -> None:
    """Pickled and copied it is the same, without its connection; nothing can be set."""
    connected = archive_of("a" * 28, "upload-1", content(), fetch=fetched([]))
    again = pickle.loads(pickle.dumps(connected))
    assert again == archive == copy.deepcopy(archive)
    assert hash(again) == hash(archive)
    with pytest.raises(MissingQuantity, match="no connection to its deployment"):
        _ = again["data"].sample
    with pytest.raises(AttributeError):
        archive.entry_id = "x"  # type: ignore[misc]  # that is what is tested


PARTS = {"run": {"calculation[-1]": {"energy": "*"}, "system[0:2]": {"type": "*"}}}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("run[0].calculation[0].energy.total.value", "not those of the archive"),
        ("run[0].calculation.energy.total.value", "not those of the archive"),
        ("run[0].system[2].type", "not those of the archive"),
        ("run[0].program.name", "run.program was not asked for"),
        ("results.material.n_elements", "results was not asked for"),
        ("mainfile", "metadata was not asked for"),
    ],
)
def test_what_was_not_asked_for_is_not_told_to_be_missing(path: str, words: str) -> None:
    """And a position in a shortened list is no position in the archive."""
    archive = Archive("e", "u", {"run": [{"calculation": [{}], "system": [{}, {}]}]}, PARTS)
    with pytest.raises(QueryError, match=words):
        archive.get(path)


def test_the_item_that_was_asked_for_is_read_where_the_archive_has_it() -> None:
    """Also by an archive that was pickled."""
    last = {"energy": {"total": {"value": 2.0}}}
    archive = Archive("e", "u", {"run": [{"calculation": [last], "system": [{"type": "bulk"}]}]}, PARTS)
    again = pickle.loads(pickle.dumps(archive))
    assert again.get("run[0].calculation[-1].energy.total.value") == 2.0
    assert again.get("run[0].system[0].type") == "bulk"
