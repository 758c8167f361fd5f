"""`Q`, `within` and `optimade`: what people type.

``Q.results.material.elements`` names a quantity; comparing it makes a `Query`. Nothing here
talks to a server. A comparison is checked at once as far as the shipped tables know the
quantity; names that they do not know are checked when the query meets a deployment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NoReturn

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.comparison import Operand, checked, refuse_stated_unit
from nomadquery.query.criteria import And, Criterion, Optimade, Range, Within
from nomadquery.query.optimade_syntax import check_filter, double_quoted
from nomadquery.query.path import (
    METHODS,
    ROOT,
    Index,
    Items,
    Name,
    Path,
    Slice,
    dotted,
    is_attribute,
    is_plain,
)
from nomadquery.query.phrases import read_path
from nomadquery.query.query import Query, side_by_side
from nomadquery.query.resolve import UNCHECKED, full_name
from nomadquery.query.short_names import Rule


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
        if isinstance(key, bool | QuantityPath):
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
            self._refuse_asked_first(key)
            return self._at(Items(_relative(key.criterion, dotted(self._path))))
        raise TypeError(
            f"{self!r} takes a position, a slice, a name or a comparison in brackets, not {key!r}."
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A path does not change. To compare write {self!r}.{name} == {value!r}.")

    def __dir__(self) -> Iterable[str]:
        names = catalogue_for().children(full_name(dotted(self._path)))
        return [*filter(is_attribute, names), *(METHODS if self._path.steps else ())]

    def _ipython_key_completions_(self) -> list[str]:
        return list(catalogue_for().names) if not self._path.steps else list(self.__dir__())

    # -- comparing -----------------------------------------------------------------------

    def __eq__(self, other: object) -> Any:
        """Compare with one value. The same path equals itself, so that paths can be dictionary keys."""
        if isinstance(other, QuantityPath) and repr(other) == repr(self):
            return True
        return self._operand(other).equals(other)

    def __ne__(self, other: object) -> Any:
        """Compare with one value; entries without the quantity match too (add ``& q.exists()``)."""
        if isinstance(other, QuantityPath) and repr(other) == repr(self):
            return False
        return ~self._operand(other).equals(other)

    def __lt__(self, other: object) -> Query:
        return self._operand(other).compared(lambda name, value: Range(name, lt=value), other)

    def __le__(self, other: object) -> Query:
        return self._operand(other).compared(lambda name, value: Range(name, lte=value), other)

    def __gt__(self, other: object) -> Query:
        return self._operand(other).compared(lambda name, value: Range(name, gt=value), other)

    def __ge__(self, other: object) -> Query:
        return self._operand(other).compared(lambda name, value: Range(name, gte=value), other)

    def between(
        self, low: object, high: object, *, unit: str | None = None, inclusive: str = "both"
    ) -> Query:
        """Return: one value lies between ``low`` and ``high``.

        Both ends are included, or as ``inclusive`` says: ``"both"``, ``"left"`` (``low`` only),
        ``"right"``, ``"neither"``. A day as upper bound includes the whole day.
        """
        return self._operand(low, high).between(low, high, unit=unit, inclusive=inclusive)

    def has_all(self, *values: object, unit: str | None = None) -> Query:
        """Return: every one of ``values`` (or of one iterable) is there; others may be."""
        return self._operand(*values).has_all(values, unit=unit)

    def has_any(self, *values: object, unit: str | None = None) -> Query:
        """Return: at least one of ``values`` (or of one iterable) is there."""
        return self._operand(*values).has_any(values, unit=unit)

    def has_none(self, *values: object, unit: str | None = None) -> Query:
        """Return: none of ``values`` is there; entries without the quantity match too."""
        return self._operand(*values).has_none(values, unit=unit)

    def has_exactly(self, *values: object) -> Query:
        """Return: these values and no others; for elements, the composition is this."""
        return self._operand(*values).has_exactly(values)

    def has_only(self, *values: object) -> Query:
        """Return: at least one of these values and nothing else; for elements, made of nothing else."""
        return self._operand(*values).has_only(values)

    def isin(self, *values: object) -> Query:
        """Return: the value is one of ``values``.

        ``values`` is any iterable, a pandas Series, an Arrow column, a DataFrame with a column
        ``entry_id``, or a search or table, whose entry ids are then asked first. Nulls and repeats
        are dropped, blanks around texts trimmed; nothing left matches no entry.
        """
        return self._operand(*values).isin(values)

    def exists(self) -> Query:
        """Return: the entry has a value. Works for any path of the archive, indexed or not."""
        return self._operand().exists()

    # -- saying more about the path -------------------------------------------------------

    def unchecked(self) -> QuantityPath:
        """Return the path taken as it stands: no check of name, type or unit."""
        return self._with(unchecked=True)

    def stored_in(self, unit: str) -> QuantityPath:
        """Return the path with the unit of the stored number said, where NOMAD does not say it.

        Raises
        ------
        UnitError
            If there is no such unit, or NOMAD says it itself.
        """
        units.check_named(unit)
        if not self._unchecked:
            refuse_stated_unit(dotted(self._path), unit)
        return self._with(stored_in=unit)

    def matching(self, window: Query) -> QuantityPath:
        """Return the path restricted to the items that a `within` over this section asks for."""
        if not isinstance(window, Query):
            raise QueryError(f"{self!r}.matching takes a within(...), not {window!r}.")
        self._refuse_asked_first(window)
        criterion = window.criterion
        section = dotted(self._path)
        if not isinstance(criterion, Within) or full_name(criterion.section) != full_name(section):
            raise QueryError(f"{self!r}.matching takes a within({section!r}, …), not {window!r}.")
        return self._at(Items(And(criterion.criteria)))

    def to(self, unit: str) -> QuantityPath:
        """Return the column converted to ``unit``."""
        units.check_named(unit)
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
                    text += f".{name}" if is_attribute(name) else f"[{name!r}]"
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
            f"{self!r} is a path and holds no values. "
            f"Select it: nomad.entries(...).select({dotted(self._path)!r})."
        )

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(
            f"'in' cannot be asked of a path. Write {self!r}.has_any({item!r}), or {self!r}.isin([...])."
        )

    def __len__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a path and has no length. As a column write .size() or .count().")

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Refuse a misspelt method."""
        raise TypeError(f"{self!r} is no method. A path has: {', '.join(METHODS)}.")

    def __and__(self, other: object) -> NoReturn:
        raise TypeError(f"Put each comparison in parentheses: ({self!r} == …) & (…).")

    __rand__ = __or__ = __ror__ = __and__

    def __invert__(self) -> NoReturn:
        raise TypeError(f"~ takes a comparison: ~({self!r} == …), or ~{self!r}.exists() for a missing value.")

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

    def _refuse_asked_first(self, query: Query) -> None:
        if query.asked_first:
            raise QueryError(
                f"{self!r}: a filter of items cannot hold a search. Give the ids: isin(search.entry_ids())."
            )

    def _operand(self, *others: object) -> Operand:
        """Return the left side of a comparison with ``others``."""
        for other in others:
            if isinstance(other, QuantityPath):
                raise TypeError(
                    f"NOMAD cannot compare two quantities ({self!r} and {other!r}). "
                    "Select both and compare in pandas."
                )
        return Operand(self._name(), repr(self), self._stored_in)

    def _name(self) -> str:
        if not is_plain(self._path) or not self._path.steps:
            raise NotExpressible(
                f"{self!r} cannot be compared in a query: NOMAD searches all items of a section. Positions "
                "and filters are for columns; for one and the same item write within(section, ...)."
            )
        if self._rule is not None:
            raise NotExpressible(
                f"{self!r}: .{self._rule}() is for columns; a query compares each value by itself."
            )
        return (UNCHECKED if self._unchecked else "") + dotted(self._path)


def within(section: str | QuantityPath, *criteria: Query) -> Query:
    """Return: one and the same item of the repeating ``section`` satisfies all of ``criteria``.

    Names in ``criteria`` are relative to the section: ``Q.value.between("1.1 eV", "1.8 eV")``.

    Raises
    ------
    QuantityNotFound
        If there is no such section or quantity.
    """
    name = section if isinstance(section, str) else section._name()
    if not criteria:
        raise QueryError(f"within({name!r}, ...) needs at least one comparison.")
    for criterion in criteria:
        if not isinstance(criterion, Query):
            raise TypeError(f"within takes comparisons such as Q.type == 'direct', not {criterion!r}.")
    parts, asked_first = side_by_side(criteria)
    query = Query(Within(name, parts), asked_first)
    checked(query.criterion, name)
    return query


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
    return Column(
        name=name,
        path=path._path,
        rule=path._rule,
        unit=path._unit,
        stored_in=path._stored_in,
        unchecked=path._unchecked,
    )


def _rebuilt(
    path: Path, rule: Rule | None, unit: str | None, stored_in: str | None, unchecked: bool
) -> QuantityPath:
    return QuantityPath(path, rule=rule, unit=unit, stored_in=stored_in, unchecked=unchecked)


def _relative(criterion: Criterion, section: str) -> Criterion:
    """Return an item filter; a `within` over the section itself stands for its criteria."""
    if isinstance(criterion, Within) and full_name(criterion.section) == full_name(section):
        return And(criterion.criteria)
    return criterion


Q: Final = QuantityPath()
