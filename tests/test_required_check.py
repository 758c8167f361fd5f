"""A hand-written archive `required`: what NOMAD would drop or misread is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.columns.required_check import check_required
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query.catalogue import catalogue_for
from tests.required_entries import CASES

REQUIRED = {case["id"]: case["required"] for case in CASES["cases"] if "required" in case}
STATUS = {case["id"]: case["status"] for case in CASES["cases"]}

#: Answered with 200, but not as it seems to be asked; or followed without end on real data.
MISREAD: dict[str, tuple[type[QueryError], str]] = {
    "slice-empty": (WouldBeMisread, "returns one item"),
    "slice-reversed": (QueryError, "gives nothing"),
    "index-neg-out": (WouldBeMisread, "first one, not none"),
    "two-keys-same-prop": (WouldBeMisread, "keeps only the later one"),
    "unknown-property": (QuantityNotFound, "no run.foo"),
    "unknown-root": (QuantityNotFound, "no foo"),
    "typo-quantity": (QuantityNotFound, "metadata.entry_name"),
    "dict-on-scalar": (WouldBeMisread, "is a text"),
    "include-resolved-root": (NotExpressible, "no end"),
    "ref-include-resolved": (NotExpressible, "no end"),
    "ref-include-resolved-inplace": (NotExpressible, "no end"),
    "cross-entry-resolved-inplace": (NotExpressible, "no end"),
    "wf2-ref": (WouldBeMisread, "second request"),
    "wf2-dangling": (WouldBeMisread, "second request"),
    "wf2-dangling-inplace": (WouldBeMisread, "second request"),
    "cross-entry-deep": (WouldBeMisread, "second request"),
    "inplace-nested": (WouldBeMisread, "Move it to the root"),
    "exclude-only": (WouldBeMisread, "'*': '*'"),
    "max-depth": (WouldBeMisread, "no option 'max_depth'"),
    "global-root": (WouldBeMisread, "no option 'global_root'"),
}


def check(required: Any, release: str = "2.0.0") -> None:
    """Check with the catalogue of the release."""
    check_required(required, catalogue_for(release), release)


@pytest.mark.parametrize("id", sorted(MISREAD))
def test_misread_case_is_refused(id: str) -> None:
    """With the class that says why, and words that say what to do."""
    kind, words = MISREAD[id]
    assert STATUS[id] == 200
    with pytest.raises(QueryError) as caught:
        check(REQUIRED[id])
    assert type(caught.value) is kind
    assert words in str(caught.value)


@pytest.mark.parametrize("id", sorted(id for id in REQUIRED if STATUS[id] != 200))
def test_what_nomad_refuses_is_refused_before(id: str) -> None:
    """Whatever was answered with 400, 422 or 500."""
    with pytest.raises(QueryError):
        check(REQUIRED[id])


@pytest.mark.parametrize("id", sorted(id for id in REQUIRED if STATUS[id] == 200 and id not in MISREAD))
def test_sound_case_passes(id: str) -> None:
    """Whatever was answered as asked."""
    check(REQUIRED[id])


@pytest.mark.parametrize(
    "id",
    sorted(case["id"] for case in CASES["cases"] if "differs_in" in case and case["id"] != "index-question"),
)
def test_an_older_release_knows_no_exclude_and_no_star(id: str) -> None:
    """1.4.3 refuses each of these cases with 400 or 422; the message names the releases."""
    for release in ("1.4.3", "1.3.17"):
        with pytest.raises(NotExpressible, match=rf"from NOMAD 2\.0\.0 on; this server runs {release}"):
            check(REQUIRED[id], release)


SYSTEMS = {"system_ref": {"chemical_composition_hill": "*"}}


@pytest.mark.parametrize(
    "required",
    [
        {"run": {"calculation": SYSTEMS}},
        {"*": "*", "run": {"calculation": SYSTEMS}},
        {"run": {"program": "*"}, "workflow2": {"results": {"calculation_result_ref": {"energy": "*"}}}},
        {"run": {"system": "*"}, "workflow2": {"results": {"calculations_ref": SYSTEMS}}},
    ],
    ids=["own branch", "star at the root", "branch beside it", "reference of a reference"],
)
def test_an_explicit_branch_over_targets_is_refused(required: Any) -> None:
    """Only the texts would come; in place of them the targets pass, and so does a text beside its place."""
    with pytest.raises(WouldBeMisread, match="'resolve-inplace': True at the root"):
        check(required)
    check({**required, "resolve-inplace": True})
    check({"run": {"calculation": {"system_ref": "*"}, "system": {"atoms": "*"}}})


def test_targets_outside_all_branches_pass() -> None:
    """Nothing is written over them."""
    check({"workflow2": {"results": {"calculation_result_ref": {"energy": "*"}}}})


@pytest.mark.parametrize("key", ["system[-1]", "system[1:]", "system[2]"])
def test_texts_into_a_shortened_list_are_refused(key: str) -> None:
    """NOMAD numbers the items anew, so that the positions in the texts mean others."""
    with pytest.raises(WouldBeMisread, match="numbers these items anew"):
        check({"run": {key: {"atoms": "*"}, "calculation": {"system_ref": "*"}}})


@pytest.mark.parametrize("key", ["system", "system[0]", "system[:5]", "system[0:-1]"])
def test_texts_into_the_front_of_a_list_pass(key: str) -> None:
    """There positions stay what they are."""
    check({"run": {key: {"atoms": "*"}, "calculation[-1]": {"system_ref": "*"}}})


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("calculation[-2]", WouldBeMisread),
        ("calculation[-5:-2]", WouldBeMisread),
        ("calculation[0:0]", WouldBeMisread),
        ("calculation[:0]", WouldBeMisread),
        ("calculation[-1:-1]", WouldBeMisread),
        ("calculation[-2:0]", QueryError),
        ("calculation[-]", QueryError),
        ("calculation[1-2]", QueryError),
        ("calculation [0]", QuantityNotFound),
        ("", QueryError),
        (" ", QueryError),
    ],
)
def test_a_key_that_nomad_reads_otherwise_is_refused(key: str, kind: type[QueryError]) -> None:
    """Bounds are clamped to the list, equal ones give one item, odd ones make the server fail."""
    with pytest.raises(QueryError) as caught:
        check({"run": {key: "*"}})
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "key", ["calculation[-1]", "calculation[-3:]", "calculation[:-1]", "calculation[3:9]"]
)
def test_a_key_that_means_the_same_for_every_length_passes(key: str) -> None:
    """Also where a list is shorter."""
    check({"run": {key: "*"}})


@pytest.mark.parametrize("key", ["run.calculation.energy", "run[0]/calculation[-1]/energy"])
def test_a_path_as_key_is_shown_as_an_object(key: str) -> None:
    """The message has what to write."""
    with pytest.raises(QueryError) as caught:
        check({key: "*"})
    first, second = ("run", "calculation") if "." in key else ("run[0]", "calculation[-1]")
    assert f"{{'{first}': {{'{second}': {{'energy': '*'}}}}}}" in str(caught.value)


def test_an_unknown_property_names_the_nearest() -> None:
    """With their places, as attribute too; a name of the search index with its place in the archive."""
    with pytest.raises(QuantityNotFound) as caught:
        check({"run": {"calculation": {"enery": "*"}}})
    assert caught.value.name == "run.calculation.enery"
    assert caught.value.nearest[0] == "run.calculation.energy"
    with pytest.raises(QuantityNotFound, match=r"Nearest: metadata\.upload_id"):
        check({"upload_id": "*"})


def test_a_path_of_old_examples_names_its_successor() -> None:
    """`workflow` is still in the schema, what old examples ask for below it is not."""
    old = {"workflow": {"calculation_result_ref": {"system_ref": {"value": {"atoms": "*"}}}}}
    with pytest.raises(QuantityNotFound, match="workflow2"):
        check(old)


@pytest.mark.parametrize(
    "required",
    [
        {"data": {"layers[0]": {"thickness": "*"}}},
        {"workflow2": {"results": {"my_own": {"value": "*"}}}},
        {"run": {"method": {"x_vasp_incar_in": "*"}, "x_exciting_section": {"gap": "*"}}},
        {"data": {"m_def": "*"}},
    ],
    ids=["custom schema", "derived workflow", "parser", "class"],
)
def test_what_no_schema_at_hand_can_know_passes(required: Any) -> None:
    """Polymorphic sections and quantities of parsers."""
    check(required)


def test_known_parts_of_polymorphic_sections_are_checked() -> None:
    """The name of a workflow is a text whatever its class."""
    with pytest.raises(WouldBeMisread, match="is a text"):
        check({"workflow2": {"name": {"x": "*"}}})


@pytest.mark.parametrize(
    "required",
    [
        {"metadata": {"n_quantities[0]": "*"}},
        {"results": {"material": {"symmetry[0]": "*"}}},
        {"run": {"calculation": {"system_ref[0]": "*"}}},
    ],
)
def test_an_index_on_what_is_no_list_is_refused(required: Any) -> None:
    """A value, a section and a reference that there is only one of."""
    with pytest.raises(QueryError, match="is no list"):
        check(required)


@pytest.mark.parametrize(
    ("required", "words"),
    [
        ({"metadata": {"main_author": {"name": "*"}}}, "holds only an id"),
        ({"processing_logs": {"event": "*"}}, "is a value"),
        (
            {"results": {"properties": {"electronic": {"dos_electronic": {"energies": {"x": "*"}}}}}},
            "refers to a value",
        ),
    ],
    ids=["people", "JSON", "reference to an array"],
)
def test_an_object_where_nothing_is_below_is_refused(required: Any, words: str) -> None:
    """NOMAD returns the text or fails."""
    with pytest.raises(QueryError, match=words):
        check(required)


def test_excluding_some_items_is_refused() -> None:
    """NOMAD leaves out the whole list."""
    with pytest.raises(WouldBeMisread, match=r"excludes all of run\.calculation"):
        check({"run": {"*": "*", "calculation[0]": "exclude"}})


def test_a_typo_in_what_is_excluded_is_found() -> None:
    """It would exclude nothing."""
    with pytest.raises(QuantityNotFound, match=r"run\.calculation"):
        check({"run": {"*": "*", "calculations": "exclude"}})


@pytest.mark.parametrize("in_place", ["yes", None, 1, {}])
def test_in_place_is_true_or_false(in_place: Any) -> None:
    """Nothing that looks like it."""
    with pytest.raises(QueryError, match="must be True or False"):
        check({"resolve-inplace": in_place, "metadata": "*"})


@pytest.mark.parametrize("directive", ["Include", "resolve", "", "exclud", "**"])
def test_unknown_directives_are_refused(directive: str) -> None:
    """Also below a star, and with the known ones in the message."""
    for required in (directive, {"run": directive}, {"*": {"name": directive}}):
        with pytest.raises(QueryError, match="it knows '\\*', 'include'"):
            check(required)
