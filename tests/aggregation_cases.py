"""The recorded cases of aggregations, and how an answer to one is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "data" / "aggregation-cases.json").read_text())["cases"]
}
ANSWERED = [id for id, case in CASES.items() if case["status"] == 200]
REFUSED = [id for id, case in CASES.items() if case["status"] != 200]
PROGRAM = "results.method.simulation.program_name"
#: Said of what was counted, not of what was asked.
COUNTED = {"data", "next_page_after_value", "total"}
#: Cases whose recorded search found nothing.
OF_NOTHING = {"min-max-empty", "name-with-colon", "terms-paginated-after", "terms-paginated-after-noorder"}


def findings(detail: Any) -> Any:
    """Return the detail of a refusal without the order of its findings, and without a stack trace."""
    if isinstance(detail, list):
        return sorted(json.dumps(one, sort_keys=True) for one in detail)
    return {key: value for key, value in detail.items() if key != "exception_traceback"}


def echo(answer: Any) -> Any:
    """Return an answer without what was counted; the length of a fixed list of programs is no matter."""
    if isinstance(answer, dict):
        kept = {key: echo(value) for key, value in answer.items() if key not in COUNTED}
        return kept | {"size": None} if kept.get("quantity") == PROGRAM and "size" in kept else kept
    return answer


def forms(data: Any) -> Any:
    """Return of which form data are: the types of the values, each form of bucket once."""
    if isinstance(data, list):
        return sorted({json.dumps(forms(one), sort_keys=True) for one in data})
    if isinstance(data, dict):
        return {key: forms(value) for key, value in data.items()}
    if isinstance(data, bool) or data is None:
        return str(data)
    return "text" if isinstance(data, str) else "number"


def data_of(answer: Any) -> Any:
    """Return what one aggregation counted."""
    [typed] = answer.values()
    return typed["data"]
