"""Aggregations as NOMAD 2.0.0 answers them: what is counted over all hits of a search.

Numbers are exact; a server's search engine estimates percentiles, and numbers of different values,
where there are many. Sources: ``tests/data/aggregation-cases.json``, and answers of a running server to
the same entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.errors import RequestRefused
from nomadquery.local import buckets
from nomadquery.local.aggregation_form import Asked
from nomadquery.local.bucket_contents import checked_metrics, empty, examples, filled, metrics_of
from nomadquery.local.buckets import MOST_BUCKETS, Bucket, Document, Item, TooManyBuckets
from nomadquery.local.composite import page_of_values
from nomadquery.local.refusals import failed_check, not_a_quantity, refused_by_engine, unforeseen
from nomadquery.local.select import is_doc_quantity
from nomadquery.query.catalogue import Catalogue, Quantity
from nomadquery.query.criteria import EVERYTHING, And, Criterion, Not, Optimade, Or, Within
from nomadquery.query.resolve import custom_quantity

Json = dict[str, Any]
#: Returns the hits of the search, without its criteria on the quantity that is named.
FindHits = Callable[[str | None], Iterable[Document]]

_NUMBERS: Final = frozenset({"integer", "long", "float", "double", "date"})
_WHOLE: Final = frozenset({"integer", "long", "date"})
_SEARCH_QUANTITIES: Final = "search_quantities"
_DEFAULT_SIZE: Final = 10
_DEFAULT_SIZES: Final = {
    **{
        f"results.material.{part}{name}": 20
        for part in ("", "topology.")
        for name in ("compound_type", "functional_type")
    },
    "results.method.simulation.dft.jacobs_ladder": 100,
    "results.method.simulation.dft.xc_functional_type": 100,
}
#: The one quantity with a fixed list of values: the programs that nomad-lab 2.0.0 has parsers for.
_PROGRAMS: Final = """
    ABACUS ABINIT AFLOW Amber AMS ASAP ASE ASR Atomate BigDFT BOPfox CASTEP CHARMM CP2K CPMD CRYSTAL DFTB+
    DL_POLY DMol3 eDMFT ElaStic Elk exciting FHI-aims FHI-vibes FLEUR FPLO GAMESS Gaussian GPAW GROMACS GROMOS
    GULP H5MD LAMMPS libAtoms LOBSTER magres Molcas MOPAC NAMD NWChem OCEAN Octopus ONETEP OpenKIM OpenMX ORCA
    phonopy Psi4 Qball Qbox QuantumATK QuantumESPRESSO QuantumEspressoEPW QuantumESPRESSOXSpectra
    QuantumEspressPhonon SIESTA solid_dmft TBStudio Tinker TURBOMOLE VASP w2dynamics Wannier90 WIEN2k xTB
    YAMBO unavailable
"""
_FIXED_VALUES: Final = {"results.method.simulation.program_name": tuple(_PROGRAMS.split())}


def check_types(asked: Mapping[str, Asked]) -> None:
    """Raise what NOMAD answers if an aggregation names no type (500)."""
    if not all(one.kind for one in asked.values()):
        raise unforeseen("NotImplementedError")


def answer_aggregations(asked: Mapping[str, Asked], catalogue: Catalogue, hits: FindHits) -> Json:
    """Return the answer to each aggregation, by its name.

    Raises
    ------
    RequestRefused
        As NOMAD or its search engine refuses it.
    """
    is_excluding = any(one.fields.get("exclude_from_search") for one in asked.values())
    answers = {}
    for name, one in asked.items():
        left_out = one.quantity if one.fields.get("exclude_from_search") else None
        try:
            answers[name] = _Question(name, one, catalogue, is_excluding).answer(list(hits(left_out)))
        except TooManyBuckets as error:
            reason = (
                f"Trying to create too many buckets. Must be less than or equal to: [{MOST_BUCKETS}] but was "
                f"[{error}]."
            )
            said = f"ApiError(503, 'search_phase_execution_exception', {reason!r})"
            raise unforeseen("ApiError", said) from error
    return answers


def without(criterion: Criterion, quantity: str) -> Criterion:
    """Return the tree with every criterion on the quantity satisfied, as ``exclude_from_search`` does.

    Meant for top-level criteria, as in NOMAD. Inside ``not`` nothing is left to match on a server; here
    ``not`` of one value is the same as ``none``, whose criterion is satisfied.
    """
    match criterion:
        case And(parts):
            return And(tuple(without(part, quantity) for part in parts))
        case Or(parts):
            return Or(tuple(without(part, quantity) for part in parts))
        case Not(inner):
            return Not(without(inner, quantity))
        case Within(section, parts):
            return Within(section, tuple(without(part, quantity) for part in parts))
        case Optimade():
            return criterion
        case _:
            return EVERYTHING if criterion.quantity == quantity else criterion


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is counted: the quantity, the word of the index for its values, and the items.

    ``section`` is the nested section whose objects the items are, ``None`` for entries.
    """

    quantity: Quantity
    index: str
    items: Sequence[Item]
    section: str | None


@dataclass(frozen=True, slots=True)
class _Question:
    """One aggregation of a search.

    Attributes
    ----------
    name : str
    asked : Asked
    catalogue : Catalogue
    is_excluding : bool
        Whether any aggregation of the search leaves criteria out.
    """

    name: str
    asked: Asked
    catalogue: Catalogue
    is_excluding: bool

    def answer(self, documents: Sequence[Document]) -> Json:
        """Return ``{type: {fields, "data": …}}``; fields without a value are left out."""
        kind, fields = self.asked.kind, dict(self.asked.fields)
        if kind == "statistics":
            metrics = checked_metrics(fields["metrics"])
            return {kind: {"metrics": list(metrics), "data": metrics_of(documents, metrics)}}
        counted = self._counted(documents)
        match kind:
            case "terms":
                found = self._terms(counted)
            case "histogram":
                found = self._histogram(counted)
            case "date_histogram":
                found = {"data": self._by_dates(counted)}
            case "auto_date_histogram":
                found = self._by_round_interval(counted)
            case "min_max":
                values = [float(value) for item in counted.items for value in item.values]
                found = {"data": [min(values), max(values)] if values else [None, None]}
            case _:
                found = {"data": self._percentiles(counted, documents)}
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        answer = {**fields, **found}
        return {kind: {name: value for name, value in answer.items() if value is not None}}

    def _counted(self, documents: Sequence[Document]) -> _Counted:
        """Return what is counted, or refuse a quantity that the type cannot take."""
        name = self.asked.quantity
        if not is_doc_quantity(name, self.catalogue):
            raise not_a_quantity(name, ["aggregation", "quantity"])
        quantity = self.catalogue.find(name)
        if quantity is None:
            items, kind = buckets.custom_items(documents, name)
            quantity = custom_quantity(name)
            kind = kind if quantity.kind == "other" else quantity.kind
            index = {"text": "keyword", "number": "double", "integer": "long", None: "keyword"}.get(
                kind, kind
            )
            counted = _Counted(quantity, index or "keyword", items, _SEARCH_QUANTITIES)
        else:
            index = quantity.index or ("reference" if quantity.type == "section_reference" else "object")
            items = buckets.items_of(documents, quantity) if index not in {"reference", "object"} else []
            counted = _Counted(quantity, index, items, quantity.nested)
        self._check_kind(counted)
        return counted

    def _check_kind(self, counted: _Counted) -> None:
        kind = self.asked.kind
        if kind == "terms":
            if counted.index not in {"keyword", "boolean"}:
                msg = "The aggregation quantity cannot be used in a terms aggregation."
                raise failed_check(msg, ["aggregation", self.name, "terms", "quantity"])
            return
        if counted.index == "reference":
            raise unforeseen("NotImplementedError", "Resolving section references is not supported.")
        is_of_dates = kind in {"date_histogram", "auto_date_histogram"}
        if counted.index == "date" or (counted.index in _NUMBERS and not is_of_dates):
            return
        by_number = kind == "histogram" and self.asked.fields["buckets"] is not None
        named = "mix-max" if kind == "min_max" or by_number else kind.replace("_", " ")
        place = "min_max" if named == "mix-max" else "histogram" if is_of_dates else kind
        msg = f"The quantity SearchQuantity({counted.quantity.name}) cannot be used in a {named} aggregation"
        raise failed_check(msg, ["aggregations", self.name, place, "quantity"])

    def _bucket(self, bucket: Bucket, value: Any, *, is_nested: bool = False) -> Json:
        return filled(bucket, value, checked_metrics(self.asked.fields["metrics"]), is_nested=is_nested)

    def _terms(self, counted: _Counted) -> Json:
        fields = self.asked.fields
        entries = fields["entries"]
        paging: Json = {}
        if fields["pagination"] is not None:
            self._check_pagination()
            chosen, paging = page_of_values(
                counted.items, counted.quantity, fields["pagination"], self.name, self.catalogue
            )
        else:
            fixed = _FIXED_VALUES.get(counted.quantity.name, ())
            default = _DEFAULT_SIZES.get(counted.quantity.name) or len(fixed) or _DEFAULT_SIZE
            paging = {"size": fields["size"] or default}
            wanted = (one for one in buckets.by_value(counted.items) if _includes(one.key, fields["include"]))
            chosen = list(wanted)[: paging["size"]]
        data = []
        for bucket in chosen:
            one = self._bucket(bucket, bucket.key, is_nested=counted.section is not None)
            if entries is not None:
                one["entries"] = examples(bucket, entries, counted.section)
            data.append(one)
        metrics = checked_metrics(fields["metrics"])
        if fields["pagination"] is None:
            found = {bucket.key for bucket in chosen}
            values = _FIXED_VALUES.get(counted.quantity.name, ())
            data += [empty(value, metrics) for value in values if value not in found]
        return {**paging, "data": data}

    def _check_pagination(self) -> None:
        loc = ["aggregations", self.name, "terms", "pagination"]
        if self.is_excluding:
            msg = "Aggregation pagination cannot be used with exclude_from_search in the same request"
            raise failed_check(msg, loc)
        if self.asked.fields["size"] is not None:
            raise failed_check("You cannot paginate and provide an extra size parameter.", loc)

    def _histogram(self, counted: _Counted) -> Json:
        fields = self.asked.fields
        bounds = fields["extended_bounds"] or {}
        if fields["buckets"] is None:
            interval, offset = fields["interval"], fields["offset"] or 0.0
            found = buckets.by_interval(counted.items, interval, offset, bounds)
            return {"data": [self._bucket(one, float(one.key)) for one in found]}
        values = [value for item in counted.items for value in item.values]
        width = None
        if values or len(bounds) == 2:
            low, high = min([*values, *_bound(bounds, "min")]), max([*values, *_bound(bounds, "max")])
            exact = (high - low) / fields["buckets"]
            width = float(math.ceil(exact)) if counted.index in _WHOLE else (1 + 1e-12) * exact
        found = buckets.by_interval(counted.items, width or 1.0, 0.0, bounds)
        only = float(low) if values and not width else None
        data = [self._bucket(one, float(one.key) if only is None else only) for one in found]
        return {"interval": width or None, "offset": 0.0, "data": data}

    def _by_dates(self, counted: _Counted) -> list[Json]:
        calendar, length = self.asked.fields["calendar_interval"], self.asked.fields["fixed_interval"]
        try:
            if calendar is not None:
                found = buckets.by_calendar(counted.items, calendar)
            else:
                found = buckets.by_length(counted.items, length)
        except KeyError as error:
            raise _refused_interval(calendar, length) from error
        return [self._bucket(one, buckets.day_of(one.key)) for one in found]

    def _by_round_interval(self, counted: _Counted) -> Json:
        most = self.asked.fields["buckets"]
        if most <= 0:
            raise refused_by_engine(f"Number of buckets must be positive, not {most}.")
        interval, found = buckets.by_round_interval(counted.items, most)
        return {"data": [self._bucket(one, float(one.key)) for one in found], "interval": interval}

    def _percentiles(self, counted: _Counted, documents: Sequence[Document]) -> list[Json]:
        fields = self.asked.fields
        if any(not 0 <= percent <= 100 for percent in fields["percents"]):
            raise refused_by_engine("percent must be in [0,100]")
        if fields["group_by"] is None:
            values = [value for item in counted.items for value in item.values]
            return self._group("all", values, len(values))
        values_by_entry: dict[str, list[Any]] = {}
        for item in counted.items:
            values_by_entry.setdefault(item.entry_id, []).extend(item.values)
        data = []
        for bucket in self._groups(documents):
            values = [value for item in bucket.items for value in values_by_entry.get(item.entry_id, ())]
            label = str(int(bucket.key)) if isinstance(bucket.key, bool) else str(bucket.key)
            data += self._group(label, values, len(bucket.items))
        return data

    def _group(self, label: str, values: Sequence[float], count: int) -> list[Json]:
        """Return the percentiles of a group, nothing for one without values."""
        percents = self.asked.fields["percents"]
        found = buckets.percentiles(values, percents)
        if not found:
            return []
        return [{"label": label, "percentiles": {str(p): found[p] for p in percents}, "count": count}]

    def _groups(self, documents: Sequence[Document]) -> list[Bucket]:
        name, size = self.asked.fields["group_by"], self.asked.fields["group_by_size"]
        loc = ["aggregation", self.name, "percentiles", "group_by"]
        if not is_doc_quantity(name, self.catalogue):
            raise not_a_quantity(name, loc)
        quantity = self.catalogue.find(name)
        if quantity is None:
            msg = "Percentiles aggregation with a group_by on dynamic quantity is not supported"
            raise unforeseen("NotImplementedError", msg)
        if quantity.index not in {"keyword", "boolean"}:
            raise failed_check("The group_by quantity cannot be used in a terms aggregation.", loc)
        if size <= 0:
            raise refused_by_engine(
                f"[size] must be greater than 0. Found [{size}] in [agg:{self.name}:groups]"
            )
        if quantity.nested is not None:
            return []  # entries themselves have no such field
        return buckets.by_value(buckets.items_of(documents, quantity))[:size]


def _includes(value: Any, include: str | Sequence[str] | None) -> bool:
    if include is None:
        return True
    if isinstance(value, bool):  # no text to be part of
        return not isinstance(include, str) and str(value).lower() in include
    return include in value if isinstance(include, str) else value in include


def _bound(bounds: Mapping[str, float], side: str) -> list[float]:
    return [bounds[side]] if side in bounds else []


def _refused_interval(calendar: str | None, length: str | None) -> RequestRefused:
    if calendar is not None:
        reason = f"The supplied interval [{calendar}] could not be parsed as a calendar interval."
    else:
        reason = (
            f"failed to parse setting [date_histogram.fixedInterval] with value [{length}] as a time value: "
            "unit is missing or unrecognized"
        )
    return refused_by_engine(reason)
