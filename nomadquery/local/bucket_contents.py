"""What an answer tells of a bucket beside its value: numbers of entries and items, metrics, examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from nomadquery.local.buckets import Bucket, Document
from nomadquery.local.matching import values_at
from nomadquery.local.refusals import failed_check, refused_by_engine, unforeseen

Json = dict[str, Any]

#: Metric → what different values are counted of.
_DISTINCT: Final = {
    "n_entries": "entry_id",
    "n_uploads": "upload_id",
    "n_materials": "results.material.material_id",
    "n_authors": "authors",
}
#: Metric → what is summed.
_SUMS: Final = {"n_calculations": "results.properties.n_calculations", "n_quantities": "n_quantities"}
_MOST_EXAMPLES: Final = 100


def checked_metrics(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the metrics of an aggregation.

    Raises
    ------
    RequestRefused
        If one is none of NOMAD's (422), or they are null, which NOMAD does not foresee (500).
    """
    if given is None:
        raise unforeseen("TypeError", "'NoneType' object is not iterable")
    for name in given:
        if name not in _DISTINCT and name not in _SUMS:
            msg = "metric must be the qualified name of a suitable search quantity"
            raise failed_check(msg, ["statistic", "metrics"])
    return tuple(given)


def metrics_of(sources: Iterable[Document], metrics: Sequence[str]) -> dict[str, int]:
    """Return the metrics of entries; of the objects of a section all are 0, since these lack the fields.

    ``authors`` is a section and no field of the index, so that there are always 0.
    """
    sources = list(sources)
    found = {}
    for name in metrics:
        path = (_DISTINCT.get(name) or _SUMS[name]).split(".")
        values = [value for source in sources for value in values_at(source, path)]
        values = [value for value in values if not isinstance(value, Mapping)]
        found[name] = len(set(values)) if name in _DISTINCT else sum(values)
    return found


def filled(bucket: Bucket, value: Any, metrics: Sequence[str], *, is_nested: bool) -> Json:
    """Return a bucket of an answer: ``count`` entries, ``nested_count`` items, metrics, its value."""
    count = bucket.n_entries if is_nested else len(bucket.items)
    answer: Json = {"count": count, "nested_count": len(bucket.items), "value": value}
    if metrics:
        answer["metrics"] = metrics_of((item.source for item in bucket.items), metrics)
    return answer


def empty(value: Any, metrics: Sequence[str]) -> Json:
    """Return a bucket for a value of a fixed list that no hit has."""
    return {"count": 0, "value": value, **({"metrics": dict.fromkeys(metrics, 0)} if metrics else {})}


def examples(bucket: Bucket, entries: Mapping[str, Any], section: str | None) -> list[Json]:
    """Return some items of a bucket, as the search engine keeps them, cut to what is required.

    Raises
    ------
    RequestRefused
        If they are more than 100 (400).
    """
    size = entries.get("size") or 0
    if size > _MOST_EXAMPLES:
        raise refused_by_engine(
            "Top hits result window is too large, the top hits aggregator [entries]'s from + size must be "
            f"less than or equal to: [{_MOST_EXAMPLES}] but was [{size}]."
        )
    required = entries.get("required", {})
    include, exclude = required.get("include"), required.get("exclude") if "include" not in required else ()
    prefix = "" if section is None else f"{section}."
    sources = [_part(item.source, prefix, include, exclude or ()) for item in bucket.items[:size]]
    copies: list[Json] = json.loads(json.dumps(sources))
    return copies if section is None else [{section: one} for one in copies]


def _part(source: Document, prefix: str, include: Sequence[str] | None, exclude: Sequence[str]) -> Json:
    """Return the part of a source that the patterns take; a pattern takes what is below its path too."""
    kept: Json = {}
    for name, value in source.items():
        path = f"{prefix}{name}"
        if _is_named(path, exclude):
            continue
        is_whole = include is None or _is_named(path, include)
        inner = None if is_whole else include
        if isinstance(value, Mapping):
            part: Any = _part(value, f"{path}.", inner, exclude)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            parts = (_part(one, f"{path}.", inner, exclude) for one in value)
            part = [one for one in parts if one]
        else:
            part = value if is_whole else None
        if part or is_whole:
            kept[name] = part
    return kept


def _is_named(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
