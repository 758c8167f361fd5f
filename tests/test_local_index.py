"""An archive becomes the search document that NOMAD makes of it."""

from __future__ import annotations

import pytest

from nomadquery.errors import InvalidRequest
from nomadquery.local.index import search_document
from nomadquery.query.catalogue import catalogue_for
from tests.local_entries import an_archive

CATALOGUE = catalogue_for("2.0.0")


def test_metadata_stand_at_the_top_and_only_indexed_results_are_kept() -> None:
    """`run` and unknown quantities are not searched; defaults of the schema are added."""
    archive = an_archive("a", foo="x", upload_name="titanates")
    archive["results"]["material"]["colour"] = "white"
    document = search_document(archive, CATALOGUE)
    assert document["upload_name"] == "titanates"
    assert document["calc_id"] == "a"
    assert "foo" not in document
    assert "run" not in document
    assert "colour" not in document["results"]["material"]
    assert document["results"]["material"]["structural_type"] == "not processed"
    assert document["results"]["method"]["simulation"]["program_version_internal"] == "not processed"


def test_computed_quantities_are_those_of_nomad() -> None:
    """Elements in order and counted, and the properties that are there."""
    document = search_document(an_archive("a", elements=["Ti", "O", "Ba"]), CATALOGUE)
    material = document["results"]["material"]
    assert (material["n_elements"], material["elements_exclusive"]) == (3, "Ba O Ti")
    archive = an_archive("a")
    archive["results"]["properties"]["electronic"] |= {"dos_electronic": [{"spin_polarized": False}]}
    archive["results"]["properties"]["structural"] = {"radius_of_gyration": []}
    properties = search_document(archive, CATALOGUE)["results"]["properties"]
    assert properties["available_properties"] == ["dos_electronic"]


def test_people_are_named_by_their_roles() -> None:
    """Authors, writers and viewers follow from the roles; mail addresses are left out."""
    people = {
        "u1": {"user_id": "u1", "name": "Ada", "email": "a@example.org"},
        "u2": {"user_id": "u2", "name": "Emmy"},
    }
    archive = an_archive("a", main_author="u1", coauthors=["u2"], reviewers=["u3"], reviewer_groups=["g"])
    document = search_document(archive, CATALOGUE, people=people)
    ada, emmy = {"name": "Ada", "user_id": "u1"}, {"name": "Emmy", "user_id": "u2"}
    assert document["main_author"] == ada
    assert document["origin"] == "Ada"
    assert document["authors"] == document["writers"] == [ada, emmy]
    assert document["viewers"] == [ada, emmy, {"user_id": "u3"}]
    assert (document["writer_groups"], document["viewer_groups"]) == ([], ["g"])


def test_datasets_are_described_by_their_ids() -> None:
    """What is not known of a dataset is absent, not null."""
    known = {"d": {"dataset_id": "d", "dataset_name": "Gaps", "doi": None}}
    document = search_document(an_archive("a", datasets=["d", "e"]), CATALOGUE, datasets=known)
    assert document["datasets"] == [{"dataset_id": "d", "dataset_name": "Gaps"}, {"dataset_id": "e"}]


def test_contents_are_listed_where_the_archive_does_not_say_them() -> None:
    """`quantities` holds every path that is set, sections and the root included."""
    archive = {
        "metadata": {"entry_id": "a", "upload_id": "u"},
        "run": [{"m_def": "runschema.run.Run", "program": {"name": "VASP"}}, {"program": {"name": "VASP"}}],
    }
    document = search_document(archive, CATALOGUE)
    names = ["", "metadata", "metadata.entry_id", "metadata.quantities", "metadata.upload_id"]
    assert document["quantities"] == [*names, "run", "run.program", "run.program.name"]
    assert document["n_quantities"] == 3 + 6  # metadata and its two; twice run, program and its name


@pytest.mark.parametrize("missing", ["entry_id", "upload_id"])
def test_an_archive_needs_its_two_ids(missing: str) -> None:
    """The message says which one is missing."""
    archive = an_archive("a")
    del archive["metadata"][missing]
    with pytest.raises(InvalidRequest, match=rf"metadata\.{missing}"):
        search_document(archive, CATALOGUE)
