"""`Archive`: one entry's archive as a value, read by path or by attribute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from nomadquery.columns.arrays import Problem, array_of, arrow_schema
from nomadquery.columns.asked import check_asked
from nomadquery.columns.extract import Declares, Notes, SectionItems, reader
from nomadquery.columns.plan import plan_column
from nomadquery.columns.planned import PlannedColumn
from nomadquery.columns.reach import Fetch, Reach
from nomadquery.columns.references import Home
from nomadquery.columns.sections import Section, Spot, as_arrays
from nomadquery.columns.settle import Shape, cell, lacking, observe, settled_batch, settled_schema
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.path import Name, Path
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import QuantityPath, column_of

_MOST_ROUNDS: Final = 16


@dataclass(frozen=True, slots=True, repr=False)
class Archive:
    """The archive of one entry, or the parts of it that were asked for.

    ``archive.get("run[-1].calculation.energy.total.value.last() in eV")`` reads a path of the column
    grammar, ``archive.run[-1].calculation[-1].energy.total.value`` (or ``archive["data"]``, where a name is
    taken) goes there section by section. References are followed when they are read, into other entries by
    a request, while the client that gave the archive is there: pickled, it holds its JSON only.

    Attributes
    ----------
    entry_id, upload_id : str
    data : mapping
        Plain JSON; numbers in stored units. Positions and references are those of the answer: a
        ``required`` with ``[0:3]`` gives shorter lists.
    required : mapping or "*"
        What was asked for.
    """

    entry_id: str
    upload_id: str
    data: Mapping[str, Any] = field(hash=False)
    required: Mapping[str, Any] | Literal["*"] = field(default="*", compare=False)
    _reach: Reach = field(default=None, compare=False)  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self._reach is None:
            home = Home(self.entry_id, self.upload_id)
            object.__setattr__(self, "_reach", Reach(home, self.data, self.required, catalogue_for()))

    def get(self, path: str | QuantityPath, default: Any = None) -> Any:
        """Return the value at a path of the column grammar, as a table would hold it for this entry.

        Numbers are in the unit that is asked for, else as stored (`unit` tells it); an array quantity is a
        NumPy array of its full shape; a repeating section without brackets gives a list with one value for
        each item. ``mainfile`` and the like are read from the archive's ``metadata``, which edits after
        processing do not reach; so is ``metadata.x``.

        Parameters
        ----------
        path : str or Q path
            ``"gap"``, ``"run[0].system[-1].atoms.positions in angstrom"``, ``Q.run[-1].program.name``.
        default : object
            What comes back where there is no value; why there is none, `problems` says.

        Raises
        ------
        QuantityNotFound
            If the schema does not know the path; ``Q["…"].unchecked()`` is the way past.
        QueryError, UnitError
            If a rule, the brackets or the unit do not fit the quantity; if ``required`` did not ask for the
            path, or chose items of a list, so that positions here are not those of the archive.
        """
        value = self._read(path).value
        return default if value is None else value

    def unit(self, path: str | QuantityPath) -> str | None:
        """Return the unit of what `get` gives; ``None`` for what has none.

        Of custom quantities it is the unit that their schema declares, as far as that can be asked.
        """
        return self._read(path).unit

    def problems(self, path: str | QuantityPath) -> list[str]:
        """Return, in words, what `get` could not read although it may be there: references that dangle …"""
        return self._read(path).problems

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python itself looks for
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """Return what stands at a name of the root; ``archive["data"]`` is the section of that name.

        Raises
        ------
        MissingQuantity
            If there is nothing.
        """
        return self._root[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._root)

    def __contains__(self, name: object) -> bool:
        return name in self._root

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self]

    def __reduce__(self) -> tuple[Callable[..., Archive], tuple[Any, ...]]:
        return Archive, (self.entry_id, self.upload_id, self.data, self.required)

    def __repr__(self) -> str:
        return f"<archive of {self.entry_id}: {', '.join(self) or 'nothing'}>"

    @property
    def _root(self) -> Section:
        return Section(self._reach, self.data, Spot(self._reach.home))

    def _read(self, path: str | QuantityPath) -> _Reading:
        catalogue = self._reach.catalogue
        column = replace(plan_column(_column(path), catalogue), source="archive", schema=None)
        around = self._around(column, catalogue)
        inside = () if around is self.data else (Name("metadata"),)
        check_asked(self.required, Path((*inside, *column.path.steps)), column.references)
        document = self._reach.document(around)
        read = reader(column, catalogue)
        for _ in range(_MOST_ROUNDS):
            notes = Notes()
            value = read(document, notes, None)
            if not self._reach.goes_on():
                break
        return _reading(value, column, notes, self.entry_id)

    def _around(self, column: PlannedColumn, catalogue: Catalogue) -> Mapping[str, Any]:
        """Return what the path starts from: the archive, or its metadata."""
        if column.names[0] in self.data or catalogue.archive_path(column.quantity) == column.quantity:
            return self.data
        metadata = self.data.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


def archive_of(
    entry_id: str,
    upload_id: str,
    data: Mapping[str, Any],
    *,
    required: Mapping[str, Any] | Literal["*"] = "*",
    catalogue: Catalogue | None = None,
    declares: Declares | None = None,
    fetch: Fetch | None = None,
) -> Archive:
    """Return the archive with its connections; see `Reach` for the parameters."""
    known = catalogue_for() if catalogue is None else catalogue
    home = Home(entry_id, upload_id)
    reach = Reach(home, data, required, known, declares=declares, fetch=fetch)
    return Archive(entry_id, upload_id, data, required, reach)


@dataclass(frozen=True, slots=True)
class _Reading:
    value: Any
    unit: str | None
    problems: list[str]


def _column(path: str | QuantityPath) -> Column:
    if isinstance(path, QuantityPath):
        return column_of(path, "value")
    if isinstance(path, str):
        where, rule, unit = read_column(path)
        return Column("value", where, rule, unit)
    raise TypeError(f"get takes a path as text or a Q path, not {path!r}.")


def _reading(raw: Any, column: PlannedColumn, notes: Notes, entry_id: str) -> _Reading:
    if column.kind == "other":
        value, unit, lines = _settled(raw, column, notes, entry_id)
        return _Reading(as_arrays(value, _levels(raw), is_integer=True), unit, [*notes.lines, *lines])
    problems: list[Problem] = []
    value = array_of([raw], [entry_id], column, problems)[0].as_py()
    if column.n_dimensions and column.kind in {"integer", "number"}:
        level = column.n_levels - column.n_dimensions
        value = as_arrays(value, level, is_integer=column.kind == "integer")
    return _Reading(value, column.unit, [*notes.lines, *(problem.why for problem in problems)])


def _settled(
    raw: Any, column: PlannedColumn, notes: Notes, entry_id: str
) -> tuple[Any, str | None, list[str]]:
    """Return a value whose type the data tell, its unit, and what is wrong with it."""
    import pyarrow as pa

    unit = None if column.rule in {"count", "size"} else column.stored_unit or notes.unit
    text = cell(raw, unit)
    shape = Shape(column.unit)
    if text is not None:
        shape.see_cell(text)
    is_converted = column.unit is not None and shape.is_numeric
    if text is None or not (is_converted or shape.word == "time") or not _fits(raw, shape.n_levels):
        return raw, unit if shape.is_numeric else None, []
    schema = arrow_schema([column])
    batch = pa.record_batch([pa.array([entry_id]), pa.array([text], pa.string())], schema=schema)
    shapes = observe([batch], schema)
    settled = settled_schema(schema, shapes)
    value = settled_batch(batch, settled, shapes).column(1)[0].as_py()
    if shape.word == "object":  # complex numbers
        value = _unpacked(value)
    found = (settled.field(1).metadata or {}).get(b"unit")
    lines = [why for _, _, why in lacking([batch], shapes)]
    return value, None if found is None else found.decode(), lines


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return None if value is None else json.loads(value)


def _fits(value: Any, n_levels: int) -> bool:
    """Return whether all single values stand below as many lists."""
    if isinstance(value, list):
        return all(_fits(item, n_levels - 1) for item in value)
    return value is None or n_levels == 0


def _levels(value: Any) -> int:
    """Return how many list levels are items of sections; the others are dimensions of arrays."""
    if not isinstance(value, SectionItems):
        return 0
    return 1 + max((_levels(item) for item in value), default=0)
