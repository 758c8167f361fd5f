"""Pages of all values of a quantity, ordered by value or by another quantity of their entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nomadquery.local.buckets import Bucket, Item, indexed
from nomadquery.local.matching import values_at
from nomadquery.local.refusals import failed_check, not_a_quantity, refused_by_engine
from nomadquery.local.select import is_doc_quantity
from nomadquery.query.catalogue import Catalogue, Quantity

Json = dict[str, Any]

_ORDER_LOC: Final = ("aggregation", "pagination", "order_by")


def page_of_values(
    items: Sequence[Item], quantity: Quantity, paging: Mapping[str, Any], name: str, catalogue: Catalogue
) -> tuple[list[Bucket], Json]:
    """Return the buckets of a page, and ``{"pagination": …}`` as NOMAD answers it.

    The value after which the next page begins is there after every page with values, the last one
    too. Ordered by a quantity it is ``<order value>:<value>``.

    Raises
    ------
    InvalidRequest
        If there is no such order, or the given value is none of it.
    """
    order = None if "order_by" not in paging else _order_quantity(paging["order_by"], quantity, catalogue)
    after = None
    if "page_after_value" in paging:
        after = _parsed(paging["page_after_value"], order, quantity, name)
    is_descending = paging.get("order") == "desc"
    grouped = _grouped(items, quantity, order)
    keys = sorted(grouped, reverse=is_descending)
    if after is not None:
        keys = [key for key in keys if (key < after if is_descending else key > after)]
    keys = keys[: paging["page_size"]]
    answer = {**paging, "total": len({value for item in items for value in item.values})}
    if keys:
        answer["next_page_after_value"] = _written(keys[-1], order)
    return [Bucket(key[-1], grouped[key]) for key in keys], {"pagination": answer}


def _grouped(
    items: Sequence[Item], quantity: Quantity, order: Quantity | None
) -> Mapping[tuple[Any, ...], list[Item]]:
    """Return the items by order value and value, or by value alone."""
    grouped: defaultdict[tuple[Any, ...], list[Item]] = defaultdict(list)
    for item in items:
        for value in item.values:
            if order is None or order.name == quantity.name:
                grouped[(value,)].append(item)
            else:
                for rank in dict.fromkeys(_order_values(item, quantity, order)):
                    grouped[rank, value].append(item)
    return grouped


def _order_values(item: Item, quantity: Quantity, order: Quantity) -> list[Any]:
    """Return what an item is ordered by: a field of the same object, else it has none."""
    if order.nested != quantity.nested:
        return []
    steps = order.name.removeprefix(f"{order.nested}.").split(".")
    stored = (indexed(value, order.kind) for value in values_at(item.source, steps))
    return [value for value in stored if value is not None]


def _order_quantity(name: str, quantity: Quantity, catalogue: Catalogue) -> Quantity:
    if not is_doc_quantity(name, catalogue):
        raise not_a_quantity(name, _ORDER_LOC)
    found = quantity if name == quantity.name else catalogue.find(name)
    if found is None or found.shape:
        raise failed_check("the order_by quantity must be a scalar", _ORDER_LOC)
    if found.index == "text":
        raise refused_by_engine(f"Fielddata is disabled on [{name}]. Please use a keyword field instead.")
    return found


def _parsed(text: str, order: Quantity | None, quantity: Quantity, name: str) -> tuple[Any, ...]:
    if order is None:
        return (text,)
    parts = text.split(":")
    if len(parts) != 2:
        loc = ["aggregations", name, "terms", "pagination", "page_after_value"]
        raise failed_check("The pager_after_value has not the right format.", loc)
    rank, value = parts
    if order.name == quantity.name:
        return (rank,)
    if order.kind == "text":
        return rank, value
    try:
        return float(rank), value
    except ValueError as error:
        raise refused_by_engine(f"failed to parse {order.kind} field [{rank}]") from error


def _written(key: tuple[Any, ...], order: Quantity | None) -> Any:
    if order is None:
        return key[0]
    return ":".join(str(part) for part in key)
