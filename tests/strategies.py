"""Every hypothesis strategy of the tests.

Trees and documents draw their values from the same small pools, so that questions find something.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nomadquery.http.lanes import LANES, Done, LaneName
from nomadquery.query import dates
from nomadquery.query.bounds import as_meant
from nomadquery.query.catalogue import Quantity, catalogue_for
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Range,
    Value,
    Within,
)
from nomadquery.query.formulas import formula_order
from nomadquery.query.resolve import custom_quantity
from nomadquery.query.values import stored_spellings
from nomadquery.raw.files import RawFile
from tests.faults.faults import EVERY, LOST, QUIET, Course
from tests.faults.raw import Uploads
from tests.faults.server import Fault
from tests.oracle import values_of
from tests.zips import a_zip

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# --- trees of criteria and the search documents that they are asked of

#: Quantities of every kind, index type and nesting; release 1.4.3 knows them all.
M, P = "results.material", "results.properties"
INDEXED = (
    *("entry_id", "mainfile", "upload_name", "published", "processed", "n_quantities", "external_id"),
    *("upload_create_time", "publish_time", "datasets.dataset_name", "datasets.dataset_create_time"),
    *("authors.name", "comment", "references", "quantities", "results.eln.lab_ids", "results.eln.names"),
    *(f"{M}.elements", f"{M}.n_elements", f"{M}.structural_type", f"{M}.symmetry.crystal_system"),
    *(f"{M}.chemical_formula_reduced", f"{M}.chemical_formula_anonymous"),
    *("results.method.simulation.program_name", "results.method.simulation.dft.xc_functional_names"),
    *("results.method.simulation.precision.planewave_cutoff", f"{P}.n_calculations"),
    *(f"{P}.optoelectronic.solar_cell.efficiency", f"{P}.optoelectronic.solar_cell.fill_factor"),
    *(f"{P}.electronic.band_structure_electronic.spin_polarized", f"{P}.available_properties"),
)
NORMALISED = (f"{M}.chemical_formula_hill", f"{M}.chemical_formula_iupac")
ANALYSED = ("mainfile.path", "authors.name.text", "entry_name.prefix", "text_search_contents")
CUSTOM = (
    *(f"data.t#entry_id:aBcDeF.Sample#{dtype}" for dtype in ("float", "int", "str", "bool", "datetime")),
    "data.layer.thickness#my_package.schema.Device",
)
#: Sections whose items NOMAD keeps apart → quantities of one item, deeper ones last.
NESTED: Mapping[str, tuple[str, ...]] = {
    f"{P}.electronic.band_gap": ("value", "type", "provenance.label", "index"),
    f"{P}.electronic.band_structure_electronic.band_gap": ("value", "type"),
    f"{M}.elemental_composition": ("element", "mass_fraction"),
    f"{M}.topology": ("label", "elements", "n_atoms", "cell.a", "elemental_composition.element"),
    f"{P}.catalytic.reaction.products": ("name", "selectivity"),
    f"{P}.mechanical.bulk_modulus": ("type", "value"),
    "section_defs": ("definition_qualified_name", "used_directly"),
}
NAMES = (
    *INDEXED,
    *NORMALISED,
    *ANALYSED,
    *CUSTOM,
    *(f"{section}.{name}" for section, names in NESTED.items() for name in names),
)

_N_NESTED = sum(map(len, NESTED.values()))

Pools = Mapping[str, Sequence[Value]]
Document = dict[str, Any]

_TEXTS = ("Ti", "O", "VASP", "exciting", "a b", "x/y.json")
_SENTENCES = ("TiO2 relax", "band gap of 1.5", "don't", "a/b/c.json", "TiO2")
_NUMBERS = (-1.5, 0.0, 1e-19, 2.5, 1e25)
_INTEGERS = (-1, 0, 1, 2, 2**31 - 1)
_DATES = (
    "1970-01-01T00:00:00.000Z",
    "2023-12-31T23:59:59.999Z",
    "2024-01-01T00:00:00.000Z",
    "2024-01-01T12:30:00.500Z",
)
_FORMULAS = {
    "hill": ("O2Ti", "C2H6O", "ClNa"),
    "iupac": ("O2Ti", "C2H6O", "ClNa"),
    "reduced": ("O2Ti", "ClNa"),
    "anonymous": ("A2B", "AB"),
}


#: How NOMAD stores the formulas of the pool that it puts in order itself.
_STORED_FORMULAS = {f"{M}.chemical_formula_iupac": ("TiO2", "C2H6O", "NaCl")}


def quantity_of(name: str) -> Quantity:
    return catalogue_for().find(name) or custom_quantity(name)


def pool_of(name: str) -> Sequence[Value]:
    """Return the stored values that trees and documents use for a quantity."""
    quantity = quantity_of(name)
    order = None if quantity.is_view else formula_order(name)
    if order is not None:
        return _FORMULAS[order]
    if quantity.members:
        return quantity.members[:4]
    if quantity.index == "text":
        return _SENTENCES
    pools: dict[str, Sequence[Value]] = {
        "text": _TEXTS,
        "number": _NUMBERS,
        "integer": _INTEGERS,
        "boolean": (False, True),
        "date": _DATES,
        "other": _NUMBERS,
    }
    return pools[quantity.kind]


POOLS: Pools = {name: pool_of(name) for name in NAMES}


def _lists(pool: Sequence[Value]) -> SearchStrategy[tuple[Value, ...]]:
    return st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique=True).map(tuple)


def _ranges(name: str, pool: Sequence[Value]) -> SearchStrategy[Criterion]:
    bounds = st.sampled_from(pool)
    lower = st.sampled_from(("gt", "gte"))
    upper = st.sampled_from(("lt", "lte"))

    def built(sides: tuple[str, str], values: tuple[Value, Value], use: str) -> Range:
        low, high = sorted(values, key=lambda value: (str(type(value)), value))
        given = {"both": {sides[0]: low, sides[1]: high}, "low": {sides[0]: low}, "high": {sides[1]: high}}
        return as_meant(Range(name, **given[use]), quantity_of(name))

    used = st.sampled_from(("both", "low", "high"))
    return st.builds(built, st.tuples(lower, upper), st.tuples(bounds, bounds), used)


def leaves_of(name: str, pool: Sequence[Value], *, section: str = "") -> SearchStrategy[Criterion]:
    """Return leaves that NOMAD's language can say of the quantity, as the resolver leaves them.

    A form of one ``section`` can ask neither all-of nor none-of items deeper down.
    """
    quantity = quantity_of(name)
    kinds: list[SearchStrategy[Criterion]] = [
        st.builds(Equals, st.just(name), st.sampled_from(pool)),
        st.builds(HasAny, st.just(name), _lists(pool)),
    ]
    if not section or quantity.nested == section:
        kinds.append(st.builds(HasNone, st.just(name), _lists(pool)))
    if quantity.shape or (quantity.repeats and not section) or "#" in name:
        kinds.append(st.builds(HasAll, st.just(name), _lists(pool)))
    if quantity.kind != "boolean" and (quantity.is_view or formula_order(name) is None):
        kinds.append(_ranges(name, pool))
    return st.one_of(kinds)


def plain_leaves(pools: Pools = POOLS) -> SearchStrategy[Criterion]:
    """Return leaves about any quantity."""
    return st.sampled_from(sorted(pools)).flatmap(lambda name: leaves_of(name, pools[name]))


def withins(pools: Pools = POOLS) -> SearchStrategy[Criterion]:
    """Return several leaves, each of another quantity, about one item of a nested section."""

    def of_section(section: str) -> SearchStrategy[Criterion]:
        names = [f"{section}.{name}" for name in NESTED[section] if f"{section}.{name}" in pools]
        chosen = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)

        def of_names(several: list[str]) -> SearchStrategy[Criterion]:
            leaves = [leaves_of(name, pools[name], section=section) for name in several]
            return st.builds(Within, st.just(section), st.tuples(*leaves))

        return chosen.flatmap(of_names)

    sections = [section for section in NESTED if any(name.startswith(f"{section}.") for name in pools)]
    return st.sampled_from(sections).flatmap(of_section)


def trees(pools: Pools = POOLS, *, max_leaves: int = 6) -> SearchStrategy[Criterion]:
    """Return resolved trees: full names, stored units, instants; not yet canonical."""

    def combined(parts: SearchStrategy[Criterion]) -> SearchStrategy[Criterion]:
        several = st.lists(parts, max_size=3).map(tuple)
        return st.one_of(st.builds(And, several), st.builds(Or, several), st.builds(Not, parts))

    leaves = st.one_of(plain_leaves(pools), plain_leaves(pools), withins(pools))
    return st.recursive(leaves, combined, max_leaves=max_leaves)


def pools_of(documents: Sequence[Document], custom: Sequence[str] = ()) -> Pools:
    """Return values that real documents have, as they stand in resolved trees; at most twelve each."""
    pools: dict[str, Sequence[Value]] = {}
    for name in (*INDEXED, *NORMALISED, *ANALYSED, *NAMES[-_N_NESTED:], *custom):
        found = {stored for document in documents for stored in _stored_in(document, name)}
        if found:
            pools[name] = sorted(found, key=repr)[:12]
    return pools


def _stored_in(document: Document, name: str) -> list[Value]:
    quantity = quantity_of(name)
    texts = [value for value in values_of(name, document) if not isinstance(value, str) or len(value) < 200]
    if quantity.kind == "text":
        return [stored for text in texts for stored in stored_spellings(text, quantity, strict=False)]
    return [dates.instant(value) for value in texts] if quantity.kind == "date" else texts


def documents() -> SearchStrategy[Document]:
    """Return search documents as NOMAD's index has them, with values from `POOLS` or without."""
    plain = [name for name in (*INDEXED, *NORMALISED, *ANALYSED) if not _is_nested(name)]
    values = {_stored_at(name): _stored_values(name) for name in plain}
    items = {
        section: st.lists(_items(section), max_size=3).map(lambda found: [x for x in found if x])
        for section in NESTED
    }
    flat = st.fixed_dictionaries({}, optional={**values, **items})
    custom = st.lists(st.one_of([_custom_value(name) for name in CUSTOM]), max_size=3)
    return st.builds(lambda parts, found: {**_unfolded(parts), "search_quantities": found}, flat, custom)


def _is_nested(name: str) -> bool:
    return quantity_of(name).nested is not None


def _stored_at(name: str) -> str:
    return name.rpartition(".")[0] if quantity_of(name).is_view else name


def _stored_values(name: str) -> SearchStrategy[Any]:
    """Return what a document holds at a quantity: a value, or a list of them."""
    one: SearchStrategy[Any] = st.sampled_from(_STORED_FORMULAS.get(name, POOLS[name]))
    if quantity_of(name).kind == "date":
        one = one.map(lambda instant: instant.replace("Z", "+00:00"))
    return st.lists(one, max_size=3) if quantity_of(name).shape else one


def _items(section: str) -> SearchStrategy[Document]:
    names = {name: _stored_values(f"{section}.{name}") for name in NESTED[section]}
    deeper = {name: values for name, values in names.items() if name.startswith("elemental_composition.")}
    own = {name: values for name, values in names.items() if name not in deeper}
    plain = st.fixed_dictionaries({}, optional=own).map(_unfolded)
    if not deeper:
        return plain
    composition = st.lists(st.builds(lambda x: {"element": x}, *deeper.values()), max_size=2)
    return st.builds(lambda item, found: {**item, "elemental_composition": found}, plain, composition)


_VALUE_FIELDS = {"float": "float_value", "int": "int_value", "str": "str_value", "bool": "bool_value"}


def _custom_value(name: str) -> SearchStrategy[Document]:
    path, schema, *dtype = name.split("#")
    field = _VALUE_FIELDS.get(dtype[0], "datetime_value") if dtype else "float_value"
    definitions = st.sampled_from(([schema], ["other.Derived", schema], ["other.Derived"]))

    def built(value: Value, classes: list[str]) -> Document:
        segments = {"1": {"path": "data", "definitions": classes}}
        return {"id": f"{path}#{classes[0]}", "segments": segments, field: value}

    return st.builds(built, st.sampled_from(POOLS[name]), definitions)


def _unfolded(parts: Mapping[str, Any]) -> Document:
    """Return ``{"a.b": 1}`` as ``{"a": {"b": 1}}``; a repeating section on the way becomes a list of one."""
    document: Document = {}
    for name, value in parts.items():
        place: Any = document
        *above, last = name.split(".")
        for step in above:
            place = place[-1] if isinstance(place, list) else place
            place = place.setdefault(step, [{}] if step in {"datasets", "authors"} else {})
        place = place[-1] if isinstance(place, list) else place
        place[last] = value
    return document


# --- moments


def moments(first_year: int = 1, last_year: int = 9999) -> SearchStrategy[datetime]:
    """Return moments without a time zone, a day away from the ends of the calendar."""
    return st.datetimes(datetime(first_year, 1, 2), datetime(last_year, 12, 30))


# --- choices made in the middle of a test


def choices() -> SearchStrategy[st.DataObject]:
    """Return what draws from strategies that need a fixture."""
    return st.data()


# --- criteria as text


def phrases() -> SearchStrategy[tuple[str, Criterion]]:
    """Return criteria in text form with the trees that they mean."""
    names = st.sampled_from(("elements", "gap", "results.material.n_elements", "data.x#a.B"))
    texts = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=6)
    values = st.one_of(st.integers(-99, 99), st.floats(-9, 9), st.booleans(), texts)

    def written(value: Value) -> str:
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return str(value).lower() if isinstance(value, bool) else repr(value)

    def compared(name: str, several: list[Value], word: str) -> tuple[str, Criterion]:
        tree: dict[str, Criterion] = {
            "==": Equals(name, several[0]),
            "!=": Not(Equals(name, several[0])),
            ">=": Range(name, gte=several[0]),
            "<": Range(name, lt=several[0]),
            "isin": HasAny(name, tuple(several)),
            "has_all": HasAll(name, tuple(several)),
            "exists": Range(name),
        }
        n_values = {"isin": len(several), "has_all": len(several), "exists": 0}.get(word, 1)
        return f"{name} {word} {', '.join(map(written, several[:n_values]))}", tree[word]

    words = st.sampled_from(("==", "!=", ">=", "<", "isin", "has_all", "exists"))
    leaves = st.builds(compared, names, st.lists(values, min_size=1, max_size=3), words)

    def combined(parts: SearchStrategy[tuple[str, Criterion]]) -> SearchStrategy[tuple[str, Criterion]]:
        several = st.lists(parts, min_size=2, max_size=3)

        def joined(phrases: list[tuple[str, Criterion]], word: str) -> tuple[str, Criterion]:
            node = And if word == "and" else Or
            text = f" {word} ".join(f"({text})" for text, _ in phrases)
            return text, node(tuple(tree for _, tree in phrases))

        negated = parts.map(lambda phrase: (f"not ({phrase[0]})", Not(phrase[1])))
        return st.one_of(st.builds(joined, several, st.sampled_from(("and", "or"))), negated)

    return st.recursive(leaves, combined, max_leaves=4)


# --- fetching: what a server lists while it is walked


@st.composite
def changing_entries(draw: st.DrawFn) -> list[list[str]]:
    """Return the entries of a server before each request: some are deleted, some published meanwhile."""
    entries = draw(st.sets(st.text("abcdef", min_size=1, max_size=2), max_size=12))
    states = [sorted(entries)]
    for _ in range(draw(st.integers(0, 5))):
        gone = draw(st.sets(st.sampled_from(sorted(entries)), max_size=2)) if entries else set()
        new = draw(st.sets(st.text("abcdef", min_size=1, max_size=2), max_size=2))
        entries = (entries - gone) | new
        states.append(sorted(entries))
    return states


# --- columns: archives with repeating sections, and paths into them

_ENERGIES = st.none() | st.integers(-5, 5) | st.floats(-1e3, 1e3, allow_nan=False)
_VECTORS = st.lists(st.floats(-9, 9, allow_nan=False), min_size=3, max_size=3)


@st.composite
def run_archives(draw: st.DrawFn) -> dict[str, Any]:
    """Return an archive of runs with calculations, in which anything may be missing or null."""

    def calculation() -> dict[str, Any] | None:
        section: dict[str, Any] = {}
        if draw(st.booleans()):
            section["step"] = draw(st.integers(0, 3))
        if draw(st.booleans()):
            section["energy"] = {"total": {"value": draw(_ENERGIES)}}
        if draw(st.booleans()):
            section["forces"] = {"total": {"value": draw(st.lists(_VECTORS, max_size=3))}}
        return None if draw(st.integers(0, 9)) == 0 else section

    def run() -> dict[str, Any]:
        section: dict[str, Any] = {}
        if draw(st.booleans()):
            section["program"] = {"name": draw(st.sampled_from(["VASP", "exciting"]))}
        if draw(st.integers(0, 3)):
            section["calculation"] = [calculation() for _ in range(draw(st.integers(0, 4)))]
        return section

    return {"run": [run() for _ in range(draw(st.integers(0, 3)))]} if draw(st.integers(0, 9)) else {}


def brackets(*, with_filter: bool) -> SearchStrategy[str]:
    """Return brackets behind a section: none, a position, a slice or a filter by ``step``."""
    position = st.integers(-4, 4).map("[{}]".format)
    bound = st.none() | st.integers(-4, 4)
    span = st.tuples(bound, bound).map(lambda ab: "[{}:{}]".format(*("" if b is None else b for b in ab)))
    choices = [st.just(""), position, span]
    if with_filter:
        choices.append(st.integers(0, 3).map("[step >= {}]".format))
    return st.one_of(choices)


def run_columns() -> SearchStrategy[tuple[str, str, str, str]]:
    """Return brackets behind ``run`` and ``calculation``, a quantity below, and a rule that fits it."""
    rules = st.sampled_from(["", ".first()", ".last()", ".min()", ".max()", ".mean()", ".count()"])
    energy = st.tuples(st.just("energy.total.value"), rules)
    forces = st.tuples(st.just("forces.total.value"), rules | st.just(".size()"))
    leaf = energy | forces
    columns = st.tuples(brackets(with_filter=False), brackets(with_filter=True), leaf).map(
        lambda drawn: (drawn[0], drawn[1], *drawn[2])
    )
    return columns.filter(lambda drawn: not drawn[3] or not _is_one_value(*drawn[:3]))


def _is_one_value(of_run: str, of_calculation: str, path: str) -> bool:
    """Return whether a path reaches a single number, of which no rule makes sense."""
    positions = [re.fullmatch(r"\[-?\d+\]", bracket) for bracket in (of_run, of_calculation)]
    return all(positions) and path.startswith("energy")


@st.composite
def column_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a search document in which values may have any JSON type, right or wrong."""
    anything = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.floats(allow_nan=False),
        st.text(max_size=3),
        st.sampled_from(["2024-01-02T03:04:05+00:00", "2024-01-02"]),
    )
    wild = anything | st.lists(anything, max_size=2) | st.dictionaries(st.just("a"), anything, max_size=1)

    def mostly(usual: SearchStrategy[Any]) -> Any:
        return draw(wild) if draw(st.integers(0, 4)) == 0 else draw(usual)

    material = {
        "n_elements": mostly(st.integers(1, 9)),
        "chemical_formula_reduced": mostly(st.sampled_from(["TiO2", "Si"])),
        "elements": mostly(st.lists(st.sampled_from(["Ti", "O"]), max_size=2)),
    }
    gap = st.fixed_dictionaries(
        {}, optional={"value": st.none() | st.floats(0, 1e-18), "type": st.just("direct")}
    )
    return {
        "entry_id": draw(st.text("abc", min_size=1, max_size=3)),
        "published": mostly(st.booleans()),
        "upload_create_time": mostly(st.datetimes().map(lambda time: time.isoformat() + "Z")),
        "results": {
            "material": {name: value for name, value in material.items() if draw(st.booleans())},
            "properties": {"electronic": {"band_gap": mostly(st.lists(gap, max_size=3))}},
        },
        "data": {"x": draw(wild)},
    }


def json_values() -> SearchStrategy[Any]:
    """Return what a custom schema may leave in an entry."""
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=3),
    )
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


_FLOATS = st.none() | st.floats(allow_nan=False)
_INSTANTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)


def _arrow_kinds() -> dict[str, tuple[Any, SearchStrategy[Any]]]:
    """Return Arrow types of columns, each with its values."""
    import pyarrow as pa

    def lists(leaf: Any) -> Any:
        return pa.list_(pa.field("element", leaf))

    return {
        "gap": (pa.float64(), _FLOATS),
        "n": (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
        "flag": (pa.bool_(), st.none() | st.booleans()),
        "text": (pa.string(), st.none() | st.text(max_size=4)),
        "when": (pa.timestamp("ms", tz="UTC"), st.none() | _INSTANTS),
        "texts": (lists(pa.string()), st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3)),
        "rows": (
            lists(lists(pa.float64())),
            st.none() | st.lists(st.none() | st.lists(_FLOATS, max_size=2), max_size=2),
        ),
    }


@st.composite
def arrow_rows(draw: st.DrawFn) -> tuple[Any, list[list[dict[str, Any]]]]:
    """Return an Arrow schema with units, and pages of rows of it with ascending entry ids."""
    import pyarrow as pa

    kinds = _arrow_kinds()
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=4))
    fields = [pa.field("entry_id", pa.string(), nullable=False)]
    for name in chosen:
        unit = draw(st.sampled_from(["eV", "angstrom", "mA/cm^2"]))
        metadata = {"path": name} | ({"unit": unit} if name in {"gap", "rows"} else {})
        fields.append(pa.field(name, kinds[name][0], metadata=metadata))
    entry_ids = sorted(draw(st.sets(st.text("abc01", min_size=1, max_size=3), max_size=6)))
    rows = [{"entry_id": one, **{name: draw(kinds[name][1]) for name in chosen}} for one in entry_ids]
    cut = draw(st.integers(0, len(rows)))
    return pa.schema(fields), [rows[:cut], rows[cut:]]


# --- archives with references, and columns that lead through them

#: Of the entries of one upload: two that can be read and one that cannot.
REFERRING_IDS = ("entry-a".ljust(28, "x"), "entry-b".ljust(28, "x"))
_SINGLE_POINT = "simulationworkflowschema.single_point.SinglePoint"
_FRAMES = st.lists(st.sampled_from(["H", "O", "Ti"]), max_size=3)


def _references(n_runs: int = 2) -> SearchStrategy[str]:
    """Return references to systems in the forms that NOMAD writes, some leading nowhere."""
    run, system = st.integers(0, n_runs), st.integers(-2, 3)
    fragment = st.tuples(run, system).map("/run/{0[0]}/system/{0[1]}".format)
    entry = st.sampled_from([*REFERRING_IDS, "entry-of-nobody".ljust(28, "x")])
    other = st.tuples(entry, fragment)
    return st.one_of(
        fragment,
        fragment.map("#{}".format),
        other.map("../upload/archive/{0[0]}#{0[1]}".format),
        other.map("../uploads/u1/archive/{0[0]}#{0[1]}".format),
        other.map("../uploads/u2/archive/{0[0]}#{0[1]}".format),
    )


@st.composite
def referring_archives(draw: st.DrawFn, *, others: bool = True) -> dict[str, dict[str, Any]]:
    """Return two archives of one upload whose calculations refer to systems; by entry id.

    Without ``others`` no reference leads out of its archive.
    """
    references = _references() if others else _references().filter(lambda text: not text.startswith(".."))

    def system() -> dict[str, Any]:
        section: dict[str, Any] = {}
        if draw(st.integers(0, 4)):
            section["atoms"] = {"labels": draw(_FRAMES)} if draw(st.booleans()) else {}
        if draw(st.integers(0, 2)) == 0:
            section["sub_system_ref"] = draw(references)
        return section

    def calculation() -> dict[str, Any]:
        section: dict[str, Any] = {"energy": {"total": {"value": draw(_ENERGIES)}}}
        if draw(st.integers(0, 3)):
            section["system_ref"] = draw(references)
        return section

    def run() -> dict[str, Any]:
        systems = [system() for _ in range(draw(st.integers(0, 3)))]
        calculations = [calculation() for _ in range(draw(st.integers(0, 3)))]
        return {"system": systems, "calculation": calculations}

    def archive(entry_id: str) -> dict[str, Any]:
        upload = {"upload_id": "u1", "entry_id": entry_id}
        results: dict[str, Any] = {"calculation_result_ref": "#/run/0/calculation/-1"}
        results["calculations_ref"] = [
            f"#/run/0/calculation/{place}" for place in draw(st.lists(st.integers(0, 3), max_size=3))
        ]
        runs = [run() for _ in range(draw(st.integers(0, 2)))]
        return {"metadata": upload, "run": runs, "workflow2": {"m_def": _SINGLE_POINT, "results": results}}

    return {entry_id: archive(entry_id) for entry_id in REFERRING_IDS}


@st.composite
def section_steps(draw: st.DrawFn, name: str) -> tuple[str, tuple[Any, ...]]:
    """Return a repeating section with its brackets as text, and as plain steps (a slice for none)."""
    bound = st.none() | st.integers(-3, 3)
    match draw(st.sampled_from(["", "", "position", "slice"])):
        case "position":
            place = draw(st.integers(-3, 2))
            return f"{name}[{place}]", (name, place)
        case "slice":
            start, stop = draw(bound), draw(bound)
            spelled = ":".join("" if one is None else str(one) for one in (start, stop))
            return f"{name}[{spelled}]", (name, slice(start, stop))
        case _:
            return name, (name, slice(None))


@st.composite
def referring_columns(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], str | None]:
    """Return a column through references: as text without rule, as plain steps, and the rule."""
    labels = ("atoms", "labels")
    ways: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "system": (("run", "calculation"), ("system_ref", *labels)),
        "subsystem": (("run", "calculation"), ("system_ref", "sub_system_ref", *labels)),
        "result": ((), ("workflow2", "results", "calculation_result_ref", "system_ref", *labels)),
        "energy": ((), ("workflow2", "results", "calculation_result_ref", "energy", "total", "value")),
    }
    sections, names = ways[draw(st.sampled_from(sorted(ways)))]
    drawn = [draw(section_steps(section)) for section in sections]
    text = ".".join([*(spelled for spelled, _ in drawn), *names])
    steps: tuple[Any, ...] = (*(step for _, some in drawn for step in some), *names)
    has_levels = any(isinstance(step, slice) for step in steps)
    rules = [None, *(("first", "last", "count") if has_levels else ())]
    rules += ["size"] if names[-1] == "labels" else []
    return text, steps, draw(st.sampled_from(rules))


@st.composite
def columns_of_entries(
    draw: st.DrawFn,
    occurring: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
    factors: Mapping[str, Any],
) -> tuple[list[str], list[tuple[str, str, tuple[Any, ...], str | None, str | None]]]:
    """Return entry ids, and columns that at least one of them has: path, text, plain steps, rule, unit.

    ``occurring`` holds the paths of each entry, with ``*`` where a section repeats; ``about`` says type,
    shape and unit of each; ``factors`` holds the units that a stored one can be converted to.
    """
    entry_ids = draw(st.lists(st.sampled_from(sorted(occurring)), min_size=8, max_size=8, unique=True))
    columns = []
    for _ in range(16):
        path = draw(st.sampled_from(occurring[draw(st.sampled_from(entry_ids))]))
        names = path.split(".")
        texts: list[str] = []
        steps: list[Any] = []
        for position, name in enumerate(names):
            if name == "*":
                continue
            repeats = names[position + 1 : position + 2] == ["*"]
            text, taken = draw(section_steps(name)) if repeats else (name, (name,))
            texts.append(text)
            steps += taken
        is_number = str(about[path]["type"]).startswith(("m_float", "m_int"))
        shape = about[path]["shape"]
        rules: list[str | None] = [None, None]
        is_list_of_references = bool(shape) and str(about[path]["type"]).startswith("reference")
        if any(isinstance(step, slice) for step in steps) and not is_list_of_references:
            rules += ["first", "last", "count"]
        if is_number and (shape or len(rules) > 2):
            rules += ["min", "max", "mean"]
        rules += ["size"] if shape and not is_list_of_references else []
        rule = draw(st.sampled_from(rules))
        units = (
            sorted(factors.get(about[path]["unit"], ()))
            if is_number and rule not in {"count", "size"}
            else []
        )
        unit = draw(st.sampled_from([None, *units]))
        columns.append((path, ".".join(texts), tuple(steps), rule, unit))
    return sorted(entry_ids), columns


# --- aggregations: small sets of search documents whose values are counted


@st.composite
def counted_documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return up to eight public search documents; any value may be missing, lists repeat values."""
    words = st.sampled_from(["O", "Ti", "a:b", "ü", "x y"])
    gap = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["direct", "indirect"]),
            "value": st.floats(0, 1e-18, allow_subnormal=False),
        },
    )
    material = st.fixed_dictionaries(
        {}, optional={"elements": st.lists(words, max_size=3), "n_elements": st.integers(0, 5)}
    )
    moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
    documents = []
    for number in range(draw(st.integers(0, 8))):
        gaps = {"electronic": {"band_gap": draw(st.lists(gap, max_size=3))}}
        documents.append(
            {
                "entry_id": f"entry-{number}",
                "upload_id": f"upload-{draw(st.integers(0, 2))}",
                "published": True,
                "with_embargo": False,
                "upload_create_time": draw(moments).isoformat(),
                "results": {"material": draw(material), "properties": gaps},
            }
        )
    return documents


# --- answers of a server that are not built as the schema says

_STRANGE: tuple[Any, ...] = (
    *(None, True, 3, 2**70, 1.5, float("nan"), float("inf"), "x", "#/run/0/system/0"),
    *([], {}, [None], [{}], [[]], {"value": 2}, [{"value": 2.5}], [{"step": 1}, 7]),
)


@st.composite
def changed_somewhere(draw: st.DrawFn, value: Any) -> Any:
    """Return the JSON value, now and then with something strange in place of a part of it."""
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        value = draw(_changed(value))
    return value


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    is_here = draw(st.integers(0, 4)) == 0
    if not isinstance(value, list | dict) or not value or is_here:
        return draw(st.sampled_from(_STRANGE))
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(_changed(value[place])), *value[place + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    return {**value, name: draw(_changed(value[name]))}


# --- entry ids, and how they are listed and arrive


def hashed_ids(count: int, seed: int = 0) -> list[str]:
    """Return ids as NOMAD makes them, the first 28 characters of a SHA-512 in base64url, in their order."""
    digests = (hashlib.sha512(f"{seed}/{number}".encode()).digest() for number in range(count))
    return sorted(base64.urlsafe_b64encode(digest).decode()[:28] for digest in digests)


def id_texts() -> SearchStrategy[str]:
    """Return texts of the characters of ids; those that begin alike are frequent."""
    return st.text(st.sampled_from("-09AZ_az"), min_size=1, max_size=10) | st.integers(0, 99).map(
        lambda number: hashed_ids(1, number)[0]
    )


@st.composite
def listings(draw: st.DrawFn, *, most: int = 1_500) -> list[str]:
    """Return the ids of a result in order: a few texts, or many that are spread evenly, or not at all."""
    count, seed = draw(st.integers(0, most)), draw(st.integers(0, 99))
    match draw(st.sampled_from(["texts", "hashed", "counted", "clustered"])):
        case "texts":
            return sorted(draw(st.sets(st.text(min_size=1, max_size=3), max_size=40)))
        case "hashed":
            return hashed_ids(count, seed)
        case "counted":
            return [f"entry-{number:04d}" for number in range(count)]
        case _:  # evenly spread at first, then most of them between two neighbours
            few = hashed_ids(count // 2, seed)
            return sorted([*few, *(f"{few[-1] if few else ''}{number}" for number in range(count // 2))])


@st.composite
def changing_listings(draw: st.DrawFn) -> Callable[[int], list[str]]:
    """Return what a server lists before its n-th answer, while some entries vanish and others appear."""
    count, seed = draw(st.integers(0, 1_500)), draw(st.integers(0, 99))
    spread = draw(st.sampled_from([hashed_ids(count, seed), [f"entry-{n:04d}" for n in range(count)]]))
    share, last = draw(st.sampled_from([2, 10, 100])), draw(st.integers(1, 12))
    chance = random.Random(seed)
    comers = {one: chance.randint(1, last) for one in spread if chance.randrange(share) == 0}
    goers = {one: chance.randint(1, last) for one in spread if chance.randrange(share) == 0}

    states = [
        [one for one in spread if comers.get(one, 0) <= moment < goers.get(one, last + 1)]
        for moment in range(last + 1)
    ]
    return lambda n_answers: states[min(n_answers, last)]


@st.composite
def covered_ranges(draw: st.DrawFn) -> tuple[list[tuple[str | None, str | None]], list[bool]]:
    """Return ranges that follow one another and cover all ids, and which of them have been read."""
    bounds = sorted(draw(st.sets(st.text(min_size=1, max_size=3), max_size=8)))
    ranges = list(pairwise([None, *bounds, None]))
    return ranges, draw(st.lists(st.booleans(), min_size=len(ranges), max_size=len(ranges)))


@st.composite
def overlapping_pieces(draw: st.DrawFn) -> list[list[tuple[str, int]]]:
    """Return pieces of a table: rows of an entry id and a number, those of one entry in one piece."""
    n_pieces = draw(st.integers(1, 5))
    pieces: list[list[tuple[str, int]]] = [[] for _ in range(n_pieces)]
    for entry_id in draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12)):
        piece = pieces[draw(st.integers(0, n_pieces - 1))]
        piece.extend((entry_id, number) for number in range(draw(st.integers(1, 3))))
    return [piece for piece in pieces if piece]


_ODD_TEXTS = st.text(max_size=5) | st.sampled_from(
    ["\ud800", "\x00", "NQ1\n", '"],{', "\u2028", "\U0001f4a5"]
)


@st.composite
def journal_records(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[Any, list[dict[str, Any]]] | None]:
    """Return what a record says, and the Arrow schema and rows that go with it, ``None`` for no rows."""
    end = st.none() | st.text(max_size=3)
    problem = st.fixed_dictionaries({"entry_id": _ODD_TEXTS, "path": _ODD_TEXTS, "why": _ODD_TEXTS})
    said = {
        "covers": draw(st.none() | st.tuples(end, end)),
        "n_listed": draw(st.integers(0, 10_000)),
        "total": draw(st.none() | st.integers(0, 10**9)),
        "problems": tuple(draw(st.lists(problem, max_size=2))),
    }
    if draw(st.integers(0, 3)) == 0:
        return said, None
    schema, pages = draw(arrow_rows())
    rows = [row for page in pages for row in page]
    ids = [row["entry_id"] for row in rows]
    of_rows = {"n_entries": len(ids), "n_rows": len(ids)}
    ends = {"first_id": min(ids, default=None), "last_id": max(ids, default=None)}
    return {**said, **of_rows, **ends}, (schema, rows)


# --- what happens at a host: seconds since the last step, who asks, in which lane, how it ended

SEATS = ("1-a", "2-b", "3-c")


def dones() -> SearchStrategy[Done]:
    """Return how requests may end."""
    return st.builds(
        Done,
        st.sampled_from(("answered", "answered", "answered", "declined", "refused", "overdue", "failed")),
        took_s=st.floats(0, 100),
        n_bytes=st.integers(0, 1 << 26),
        hold_s=st.sampled_from((0.0, 0.0, 0.0, 2.0, 7200.0)),
    )


def steps_at_a_host() -> SearchStrategy[list[tuple[float, str, LaneName, Done | None]]]:
    """Return steps in which a request is asked for (``None``) or the oldest in flight ends."""
    step = st.tuples(
        st.floats(0, 3), st.sampled_from(SEATS), st.sampled_from(LANES), st.none() | st.none() | dones()
    )
    return st.lists(step, max_size=120)


# --- what happens to the answers of a server, one after the other


@st.composite
def courses(draw: st.DrawFn) -> Course:
    """Return a schedule of faults: none, a few, or many; then a server that recovers or stays broken."""
    usual = sorted(set(EVERY) - set(QUIET))
    fault = st.one_of(st.none(), st.none(), st.sampled_from(usual))
    faults = draw(st.lists(fault, max_size=25))
    afterwards = draw(st.one_of(st.none(), st.none(), st.sampled_from(sorted(LOST))))
    quiet = draw(st.one_of(st.none(), st.tuples(st.integers(1, 12), st.sampled_from(sorted(QUIET)))))
    return Course(tuple(faults), afterwards, quiet)


# --- what stands in the rows of a column of lists


def nested_cells(depth: int, leaf: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return lists of lists of values: of equal lengths, or ragged and with missing ones."""
    if depth == 0:
        return leaf
    inner = nested_cells(depth - 1, leaf)
    return st.lists(inner, min_size=2, max_size=2) | st.lists(inner | st.none(), max_size=3)


# --- the contents of raw files, and ranges of their bytes


@st.composite
def raw_contents(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw the raw files of an upload: a few paths, none a folder of another, and their bytes."""
    word = st.text("ab.-0 ü", min_size=1, max_size=3).filter(lambda text: text not in {".", ".."})
    paths = draw(st.lists(st.lists(word, min_size=1, max_size=3).map("/".join), max_size=12, unique=True))
    files = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    return {path: draw(st.binary(max_size=40)) for path in files}


@st.composite
def byte_ranges(draw: st.DrawFn) -> tuple[int, str]:
    """Draw the size of a file and one range of it, in each of the three spellings."""
    size_bytes = draw(st.integers(1, 300))
    place = st.integers(0, 320)
    first, last = draw(place), draw(place)
    return size_bytes, draw(st.sampled_from((f"{first}-{last}", f"{first}-", f"-{last}")))


# -- raw files ------------------------------------------------------------------------------------

#: Names that have once been trouble: what addresses, globs and patterns take for something else.
ODD_NAMES = (
    "OUTCAR",
    "OLD_OUTCAR",
    "vasprun.xml.gz",
    "a b",
    "100%25",
    "x#y",
    "q?z",
    "ü",
    "日本",
    "[a]",
    "*",
    "..x",
)


def file_names() -> st.SearchStrategy[str]:
    """Names of files and folders as uploads have them."""
    letters = st.characters(codec="utf-8", exclude_characters="/\0")
    return st.sampled_from(ODD_NAMES) | st.text(letters, min_size=1, max_size=8).filter(
        lambda name: name not in (".", "..")
    )


def paths_in_uploads() -> st.SearchStrategy[str]:
    """Paths of files in uploads."""
    return st.lists(file_names(), min_size=1, max_size=4).map("/".join)


# --- names of raw files, as a server or a zip may give them

#: Parts that mean something, or the same as another, to some file system.
_PARTS = (
    *("INCAR", "incar", "a", "A", "b", "vasprun.xml", "VASPRUN.XML", "data.tar.gz", "straße", "STRASSE"),
    *("\u00e9", "e\u0301", "\u212a", "k", "ﬁ", "fi", "CON", "_CON", "con.txt", "nul", "COM1.dat", "lpt¹"),
    *("a.", "a ", "a_", "a:b", "a\\b", "a?b", "a_b", ".", "..", "", "a\u200b", "\u202etxt", ".hidden", "~"),
    *(
        "C:",
        "c:x",
        "x" * 300,
        "x" * 300 + "y",
        "é" * 150,
        "a\0b",
        "a\nb",
        "\x85",
        "\udc80",
        "..\\up",
        "a\\..\\b",
    ),
)


def names_from_outside() -> SearchStrategy[str]:
    """Return paths, most of them of parts that some system has trouble with."""
    part = st.sampled_from(_PARTS) | st.text(min_size=1, max_size=6)
    return st.lists(part, min_size=1, max_size=4).map("/".join)


def raw_files() -> SearchStrategy[list[RawFile]]:
    """Return files of few uploads and entries, each path of an upload once."""
    ids = st.sampled_from(("one", "ONE", "two", "..", "a"))
    file = st.builds(
        RawFile,
        ids,
        names_from_outside(),
        st.just(1),
        st.lists(ids, max_size=3).map(tuple),
        st.just(()),
    )
    return st.lists(file, max_size=12, unique_by=lambda one: (one.upload_id, one.path))


@st.composite
def uploads_with_entries(draw: st.DrawFn) -> Uploads:
    """Small uploads, in which no folder has the name of a file, and entries with mainfiles in them."""
    files: dict[str, dict[str, bytes]] = {}
    for upload_id in draw(st.lists(st.sampled_from(("u1", "u2")), min_size=1, unique=True)):
        paths = draw(st.lists(paths_in_uploads(), min_size=1, max_size=6, unique=True))
        folders = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)}
        kept = [path for path in paths if path not in folders]
        files[upload_id] = {path: draw(st.binary(max_size=40)) for path in kept}
    places = [(upload_id, path) for upload_id, paths in files.items() for path in paths]
    mains = draw(st.lists(st.sampled_from(places), max_size=5, unique=True))
    return Uploads(files, {f"e{n}": place for n, place in enumerate(mains)})


# --- zips

#: Contents that look like records of a zip, or that pack very well.
_CONTENTS = (
    *(
        b"",
        b"energy -1.5 eV\n" * 30,
        bytes(5_000),
        b"PK",
        b"PK\x07\x08",
        b"PK\x07\x08" * 9,
        b"PK\x03\x04PK\x01\x02",
    ),
    a_zip({"inner/OUTCAR": b"PK\x07\x08 inside"}, is_seekable=False),
    a_zip({"inner": bytes(60)}),
)


def contents_of_zips() -> SearchStrategy[dict[str, bytes]]:
    """Return names and contents of a zip, some of which are zips themselves."""
    name = st.sampled_from(("OUTCAR", "a/b/vasprun.xml", "ä", "x", "manifest.json")) | st.text(
        st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1
    )
    return st.dictionaries(name, st.sampled_from(_CONTENTS) | st.binary(max_size=400), max_size=4)


def wanted_files() -> SearchStrategy[list[RawFile]]:
    """Files of two uploads, of no entry or of some, from empty to 5 GB."""
    file = st.builds(
        RawFile,
        st.sampled_from(("u1", "u2")),
        st.integers(0, 10**6).map(lambda n: f"{n}/OUTCAR"),
        st.integers(0, 10**4) | st.integers(0, 5 * 10**9),
        st.sampled_from(((), ("e1",), ("e1", "e2"))),
        st.just(()),
    )
    return st.lists(file, max_size=30, unique_by=lambda one: (one.upload_id, one.path))


def raw_faults() -> SearchStrategy[list[Fault | int]]:
    """What goes wrong with answers one after the other: of the connection, or refused by a proxy."""
    fault: SearchStrategy[Fault | int] = st.sampled_from(
        ("reset", "reset_in_headers", "reset_in_body", "cut", "cut_chunks", 502, 503, 504)
    )
    return st.lists(fault, max_size=6)
