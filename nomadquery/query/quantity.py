"""`Q`, `within` and `optimade`: what people type.

``Q.results.material.elements`` names a quantity; comparing it makes a `Query`. Nothing here
talks to a server. A comparison is checked at once as far as the shipped tables know the
quantity; names that they do not know are checked when the query meets a deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import Any, Final, NoReturn

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError
from nomadquery.query.catalogue import COUNTED_BY, Quantity, catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.criteria import (
    NOTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Range,
    Value,
    Within,
)
from nomadquery.query.dates import text_of
from nomadquery.query.optimade_syntax import check_filter
from nomadquery.query.body import double_quoted
from nomadquery.query.path import ROOT, Index, Items, Name, Path, Slice, dotted, is_plain
from nomadquery.query.phrases import read_path
from nomadquery.query.query import HasEntryIds, Query
from nomadquery.query.resolve import UNCHECKED, Resolver, full_name
from nomadquery.query.short_names import SHORT_NAMES, Rule

_LIST_WORDS: Final = "has_all (every one of these), has_any (at least one), has_exactly (these and no others), has_only (a subset of these)"
_METHODS: Final = (
    "between has_all has_any has_none has_exactly has_only isin exists unchecked stored_in "
    "matching first last min max mean count size to"
).split()


class QuantityPath:
    """A path to a quantity or section; comparing it gives a `Query`, selecting it a column.

    ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` compare; ``[0]``, ``[-1]``, ``[0:3]`` and
    ``[criterion]`` choose items of a repeating section (columns only). The methods are the only
    reserved names: ``Q["a.b.count"]`` reaches a quantity that is called like one.
    """

    __slots__ = ("_path", "_rule", "_stored_in", "_unchecked", "_unit")
    __array_ufunc__ = None  # numpy hands comparisons over instead of looping

    _path: Path
    _rule: Rule | None
    _unit: str | None
    _stored_in: str | None
    _unchecked: bool

    def __init__(
        self,
        path: Path = ROOT,
        *,
        rule: Rule | None = None,
        unit: str | None = None,
        stored_in: str | None = None,
        unchecked: bool = False,
    ) -> None:
        for name, value in zip(self.__slots__, (path, rule, stored_in, unchecked, unit), strict=True):
            object.__setattr__(self, name, value)

    # -- the path ------------------------------------------------------------------------

    def __getattr__(self, name: str) -> QuantityPath:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._at(Name(name))

    def __getitem__(self, key: object) -> QuantityPath:
        if isinstance(key, str):
            return self._with(path=Path((*self._path.steps, *read_path(key).steps)))
        if isinstance(key, bool) or isinstance(key, QuantityPath):
            raise TypeError(
                f"{self!r} takes a position, a slice, a name or a comparison in brackets, not {key!r}."
            )
        if isinstance(key, int):
            return self._at(Index(key))
        if isinstance(key, slice):
            if key.step not in {None, 1}:
                raise QueryError("A slice of sections has no step; write [start:stop].")
            return self._at(Slice(key.start, key.stop))
        if isinstance(key, Query):
            return self._at(Items(_relative(key.criterion, dotted(self._path))))
        raise TypeError(
            f"{self!r} takes a position, a slice, a name or a comparison in brackets, not {key!r}."
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A path does not change. To compare write {self!r}.{name} == {value!r}.")

    def __dir__(self) -> Iterable[str]:
        names = (
            catalogue_for().children(full_name(dotted(self._path)))
            if is_plain(self._path) or self._path.steps
            else ()
        )
        return [*names, *(_METHODS if self._path.steps else ())]

    def _ipython_key_completions_(self) -> list[str]:
        return list(catalogue_for().names) if not self._path.steps else list(self.__dir__())

    # -- comparing -----------------------------------------------------------------------

    def __eq__(self, other: object) -> Any:
        """Compare with one value. The same path equals itself, so that paths can be dictionary keys."""
        if isinstance(other, QuantityPath) and repr(other) == repr(self):
            return True
        known = self._known()
        if known is not None and known.kind == "number" and known.is_dimensional:
            raise QueryError(
                f"{self!r} is a measured number and never exactly {other!r}. Write .between(low, high), "
                f"as in {self!r}.between('1.1 eV', '1.2 eV')."
            )
        return self._compared(lambda name, value: Equals(name, value), other)

    def __ne__(self, other: object) -> Any:
        """Compare with one value; entries without the quantity match too (add ``& q.exists()``)."""
        if isinstance(other, QuantityPath) and repr(other) == repr(self):
            return False
        return ~(self == other)

    def __lt__(self, other: object) -> Query:
        return self._compared(lambda name, value: Range(name, lt=value), other)

    def __le__(self, other: object) -> Query:
        return self._compared(lambda name, value: Range(name, lte=value), other)

    def __gt__(self, other: object) -> Query:
        return self._compared(lambda name, value: Range(name, gt=value), other)

    def __ge__(self, other: object) -> Query:
        return self._compared(lambda name, value: Range(name, gte=value), other)

    def between(self, low: object, high: object, *, unit: str | None = None) -> Query:
        """Return: one value is at least ``low`` and at most ``high`` (both included).

        A day as upper bound includes the whole day.
        """
        return self._made(Range(self._name(), gte=self._value(low, unit), lte=self._value(high, unit)))

    def has_all(self, *values: object, unit: str | None = None) -> Query:
        """Return: every one of ``values`` is there (others may be)."""
        several = self._several(values, unit, "has_all")
        known = self._known()
        if known is not None and not known.is_list and len(set(several)) > 1:
            raise QueryError(f"{self!r} has one value and cannot have all of {several}; did you mean isin?")
        return self._made(HasAll(self._name(), several))

    def has_any(self, *values: object, unit: str | None = None) -> Query:
        """Return: at least one of ``values`` is there."""
        return self._made(HasAny(self._name(), self._several(values, unit, "has_any")))

    def has_none(self, *values: object, unit: str | None = None) -> Query:
        """Return: none of ``values`` is there; entries without the quantity match too."""
        return self._made(HasNone(self._name(), self._several(values, unit, "has_none")))

    def has_exactly(self, *values: object) -> Query:
        """Return: these values and no others; for elements, the composition is this."""
        several = self._several(values, None, "has_exactly")
        known = self._enumerated("has_exactly")
        if known.name in COUNTED_BY:
            count = Equals(COUNTED_BY[known.name], len(set(several)))
            return self._made(And((HasAll(self._name(), several), count)))
        return self._made(
            And((HasAll(self._name(), several), HasNone(self._name(), _others(several, known))))
        )

    def has_only(self, *values: object) -> Query:
        """Return: at least one of these values and nothing else; for elements, made of nothing else."""
        several = self._several(values, None, "has_only")
        others = _others(several, self._enumerated("has_only"))
        return self._made(And((HasAny(self._name(), several), HasNone(self._name(), others))))

    def isin(self, values: object) -> Query:
        """Return: the value is one of ``values``.

        ``values`` is any iterable, a pandas Series, an Arrow column, a DataFrame with a column
        ``entry_id``, or a search or table, whose entry ids are then asked first. Nulls and repeats
        are dropped, blanks around texts trimmed; nothing left matches no entry.
        """
        if isinstance(values, HasEntryIds):
            placeholder = f"entry ids of search {id(values)}"
            return Query(HasAny(self._name(), (placeholder,)), ((placeholder, values),))
        several = tuple(self._value(value, None) for value in _listed(values))
        if not several:
            return Query(NOTHING)
        known = self._known()
        if known is not None and known.kind == "number" and known.is_dimensional:
            raise QueryError(
                f"{self!r} is a measured number and never exactly in a list; write .between(low, high)."
            )
        return self._made(HasAny(self._name(), several))

    def exists(self) -> Query:
        """Return: the entry has a value. Works for any path of the archive, indexed or not."""
        known = catalogue_for().find(full_name(dotted(self._path)))
        name = self._name()
        indexed = known is None and not name.startswith(
            ("run.", "workflow", "data.", "measurement.", UNCHECKED)
        )
        if indexed or (known is not None and known.searchable):
            return self._made(Range(name))
        return Query(Equals("quantities", full_name(name.removeprefix(UNCHECKED))))

    # -- saying more about the path -------------------------------------------------------

    def unchecked(self) -> QuantityPath:
        """Return the path taken as it stands: no check of name, type or unit."""
        return self._with(unchecked=True)

    def stored_in(self, unit: str) -> QuantityPath:
        """Return the path with the unit of the stored number said, where NOMAD does not say it."""
        units.scale_of(unit)
        return self._with(stored_in=unit)

    def matching(self, window: Query) -> QuantityPath:
        """Return the path restricted to the items that a `within` over this section asks for."""
        criterion = window.criterion
        section = dotted(self._path)
        if not isinstance(criterion, Within) or full_name(criterion.section) != full_name(section):
            raise QueryError(f"{self!r}.matching takes a within({section!r}, …), not {window!r}.")
        return self._at(Items(And(criterion.criteria)))

    def to(self, unit: str) -> QuantityPath:
        """Return the column converted to ``unit``."""
        units.scale_of(unit)
        return self._with(unit=unit)

    def first(self) -> QuantityPath:
        """Return the column of the first item that has a value."""
        return self._with(rule="first")

    def last(self) -> QuantityPath:
        """Return the column of the last item that has a value."""
        return self._with(rule="last")

    def min(self) -> QuantityPath:
        """Return the column of the smallest number reached, array elements included."""
        return self._with(rule="min")

    def max(self) -> QuantityPath:
        """Return the column of the largest number reached, array elements included."""
        return self._with(rule="max")

    def mean(self) -> QuantityPath:
        """Return the column of the mean of all numbers reached, array elements included."""
        return self._with(rule="mean")

    def count(self) -> QuantityPath:
        """Return the column that counts the items with a value."""
        return self._with(rule="count")

    def size(self) -> QuantityPath:
        """Return the column of the length of an array."""
        return self._with(rule="size")

    # -- what the protocols of Python would do wrongly ------------------------------------

    def __hash__(self) -> int:
        return hash((QuantityPath, repr(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (self._path, self._rule, self._unit, self._stored_in, self._unchecked))

    def __repr__(self) -> str:
        text = "Q"
        for step in self._path.steps:
            match step:
                case Name(name):
                    text += f".{name}" if name.isidentifier() and name not in _METHODS else f"[{name!r}]"
                case Index(position):
                    text += f"[{position}]"
                case Slice(start, stop):
                    text += f"[{'' if start is None else start}:{'' if stop is None else stop}]"
                case Items(criterion):
                    text += f"[{Query(criterion)!r}]"
        text += f".{self._rule}()" if self._rule else ""
        text += f".stored_in({self._stored_in!r})" if self._stored_in else ""
        text += ".unchecked()" if self._unchecked else ""
        return text + (f".to({self._unit!r})" if self._unit else "")

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is a path, neither true nor false. For entries that have it write .exists()."
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is a path and holds no values. Select it: nomad.entries(...).select({dotted(self._path)!r})."
        )

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(
            f"'in' cannot be asked of a path. Write {self!r}.has_any({item!r}), or {self!r}.isin([...])."
        )

    def __len__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a path and has no length. As a column write .size() or .count().")

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{self!r} is no method. A path has: {', '.join(_METHODS)}.")

    def __and__(self, other: object) -> NoReturn:
        raise TypeError(f"Put each comparison in parentheses: ({self!r} == …) & (…).")

    __rand__ = __or__ = __ror__ = __invert__ = __and__  # type: ignore[assignment]  # all refuse alike

    # -- inside ---------------------------------------------------------------------------

    def _at(self, step: Name | Index | Slice | Items) -> QuantityPath:
        return self._with(path=self._path / step)

    def _with(self, **changes: Any) -> QuantityPath:
        kept = {
            "path": self._path,
            "rule": self._rule,
            "unit": self._unit,
            "stored_in": self._stored_in,
            "unchecked": self._unchecked,
        }
        return QuantityPath(**{**kept, **changes})

    def _name(self) -> str:
        if not is_plain(self._path) or not self._path.steps:
            raise NotExpressible(
                f"{self!r} cannot be compared in a query: NOMAD searches all items of a section. Positions and "
                "filters are for columns; for one and the same item write within(section, ...)."
            )
        if self._rule is not None:
            raise NotExpressible(
                f"{self!r}: .{self._rule}() is for columns; a query compares each value by itself."
            )
        return (UNCHECKED if self._unchecked else "") + dotted(self._path)

    def _known(self) -> Quantity | None:
        if self._unchecked or not self._path.steps:
            return None
        return catalogue_for().find(full_name(dotted(self._path)))

    def _made(self, criterion: Criterion) -> Query:
        known = self._known()
        if known is not None:
            Resolver(catalogue_for(), strict=True).resolve(criterion)
        return Query(criterion)

    def _compared(self, leaf: Callable[[str, Value], Criterion], other: object) -> Query:
        return self._made(leaf(self._name(), self._value(other, None)))

    def _several(self, values: tuple[object, ...], unit: str | None, word: str) -> tuple[Value, ...]:
        listed = _listed(values[0]) if len(values) == 1 and not isinstance(values[0], str) else list(values)
        if not listed:
            raise QueryError(f"{self!r}.{word}() needs at least one value.")
        return tuple(self._value(value, unit) for value in listed)

    def _enumerated(self, word: str) -> Quantity:
        known = self._known()
        if known is None or not known.members or not known.is_list:
            raise NotExpressible(
                f"NOMAD cannot say 'and no others' of {self!r}, whose possible values are not listed. "
                f"Ask has_all(...), select the column and compare in pandas."
            )
        return known

    def _value(self, value: object, unit: str | None) -> Value:
        plain = _plain_value(value, self)
        if unit is not None:
            if isinstance(plain, bool | str):
                raise QueryError(f"unit={unit!r} goes with a number, not with {plain!r}.")
            plain = f"{plain!r} {unit}"
        return plain if self._stored_in is None else self._in_stored_unit(plain)

    def _in_stored_unit(self, value: Value) -> Value:
        number, unit = units.parse_measure(value) if isinstance(value, str) else (value, "")
        stored = units.convert(float(number), unit, str(self._stored_in)) if unit else float(number)
        known = self._known()
        return f"{stored!r} {known.unit}" if known is not None and known.is_dimensional else stored


def within(section: str | QuantityPath, *criteria: Query) -> Query:
    """Return: one and the same item of the repeating ``section`` satisfies all of ``criteria``.

    Names in ``criteria`` are relative to the section: ``Q.value.between("1.1 eV", "1.8 eV")``.
    """
    name = section if isinstance(section, str) else section._name()
    if not criteria:
        raise QueryError(f"within({name!r}, ...) needs at least one comparison.")
    for criterion in criteria:
        if not isinstance(criterion, Query):
            raise TypeError(f"within takes comparisons such as Q.type == 'direct', not {criterion!r}.")
    tree = Within(name, tuple(query.criterion for query in criteria))
    Resolver(catalogue_for(), strict=True).resolve(tree)
    return Query(tree)


def optimade(filter_text: str) -> Query:
    """Return: the OPTIMADE filter holds; strings may be quoted either way.

    Raises
    ------
    QueryError
        If the text is no OPTIMADE filter.
    """
    text = double_quoted(filter_text)
    check_filter(text)
    return Query(Optimade(text))


def column_of(path: QuantityPath, name: str) -> Column:
    """Return the column that a path describes, as typed."""
    return Column(name=name, path=path._path, rule=path._rule, unit=path._unit, stored_in=path._stored_in, unchecked=path._unchecked)


def _rebuilt(
    path: Path, rule: Rule | None, unit: str | None, stored_in: str | None, unchecked: bool
) -> QuantityPath:
    return QuantityPath(path, rule=rule, unit=unit, stored_in=stored_in, unchecked=unchecked)


def _relative(criterion: Criterion, section: str) -> Criterion:
    """Return an item filter; a `within` over the section itself stands for its criteria."""
    if isinstance(criterion, Within) and full_name(criterion.section) == full_name(section):
        return And(criterion.criteria)
    return criterion


def _others(values: tuple[Value, ...], known: Quantity) -> tuple[Value, ...]:
    return tuple(member for member in known.members if member not in values)


def _listed(values: object) -> list[object]:
    """Return the values of an iterable, Series, Arrow column or DataFrame, without nulls and repeats."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise QueryError(f"{values!r} is one value; give a list: [{values!r}].")
    if hasattr(values, "columns") and hasattr(values, "__getitem__"):  # a DataFrame or an Arrow table
        values = _entry_id_column(values)
    plain: Iterator[object] = iter(values.to_pylist() if hasattr(values, "to_pylist") else values)  # type: ignore[call-overload]  # an iterable
    kept = (value.strip() if isinstance(value, str) else value for value in plain if not _is_null(value))
    return list(dict.fromkeys(value for value in kept if value != ""))


def _entry_id_column(frame: Any) -> Any:
    try:
        return frame["entry_id"]
    except KeyError as error:
        raise QueryError("The DataFrame has no column 'entry_id'; give the column: frame['…'].") from error


def _is_null(value: object) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124  # NaN is what differs from itself


def _plain_value(value: object, path: QuantityPath) -> Value:
    """Return a value as text, number or truth; pint quantities and dates as text."""
    if isinstance(value, QuantityPath):
        raise TypeError(
            f"NOMAD cannot compare two quantities ({path!r} and {value!r}). Select both and compare in pandas."
        )
    if hasattr(value, "magnitude") and hasattr(value, "units"):
        return units.text_of_pint(value)
    if isinstance(value, datetime | date):
        return text_of(value.to_pydatetime() if hasattr(value, "to_pydatetime") else value)
    if hasattr(value, "item") and not isinstance(value, str | int | float):
        value = value.item()
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if value != value:  # noqa: PLR0124  # NaN is what differs from itself
            raise QueryError(
                f"{path!r} cannot be compared with NaN; for a missing value write ~{path!r}.exists()."
            )
        return value
    if value is None:
        raise QueryError(
            f"{path!r} cannot be compared with None; for a missing value write ~{path!r}.exists()."
        )
    if isinstance(value, Iterable):
        raise QueryError(
            f"{path!r} is compared with one value. For several there are: {_LIST_WORDS}, and isin for one of them."
        )
    raise TypeError(
        f"{path!r} is compared with text, numbers, truth values or dates, not with {type(value).__name__}."
    )


Q: Final = QuantityPath()
