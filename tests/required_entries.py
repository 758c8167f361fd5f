"""The entries that archive ``required`` is tried on, and what NOMAD answered: two case files.

``required-cases.json`` comes with two entries; ``reference-cases.json`` is about a third.

The third entry holds what the case file lacks: every spelling of a reference, references that lead
nowhere, a cycle within one entry, a reference to an array, and values that no schema knows.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
CASES: dict[str, Any] = json.loads((DATA / "required-cases.json").read_text())
REFERENCE_CASES: dict[str, Any] = json.loads((DATA / "reference-cases.json").read_text())

Answer = tuple[int, Any]
ENTRY_ID: str = CASES["entry_id"]
UPLOAD_ID: str = CASES["upload_id"]
OTHER_ID = "EntryBBBBBBBBBBBBBBBBBBBBBBB"
MAINFILE = "c/vasprun.xml"

#: Nobody else's entries: those of other tests are counted by owner.
USER: dict[str, str] = {
    "user_id": "5d0c9f5a-3f63-4a58-9d1b-0000000000c5",
    "username": "required-cases",
    "first_name": "Required",
    "last_name": "Cases",
    "email": "required-cases@example.org",
}


def id_of(upload_id: str, mainfile: str) -> str:
    """Return the id that NOMAD gives to the entry of a mainfile."""
    digest = hashlib.sha512(f"{upload_id}{mainfile}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:28].decode()


FORMS_ID = id_of(UPLOAD_ID, MAINFILE)

#: Every way to write a reference, by what it shows.
FORMS = {
    "other entry": f"../uploads/{UPLOAD_ID}/archive/{OTHER_ID}#/run/0/system/0",
    "other entry, upload left out": f"../upload/archive/{OTHER_ID}#/run/0/system/0",
    "other entry, address of an entry": f"../entries/{OTHER_ID}/archive#/run/0/system/0",
    "other entry, no slash": f"../upload/archive/{OTHER_ID}#run/0/system/0",
    "other entry by its raw file": f"../upload/{UPLOAD_ID}/raw/b/vasprun.xml#/run/0/system/0",
    "own id": f"../upload/archive/{FORMS_ID}#/run/0/system/1",
    "own mainfile": f"../upload/archive/mainfile/{MAINFILE}#/run/0/system/1",
    "own raw file": f"../upload/{UPLOAD_ID}/raw/{MAINFILE}#/run/0/system/1",
    "no such mainfile": "../upload/archive/mainfile/nowhere.xml#/run/0/system/0",
    "no such raw file": f"../upload/{UPLOAD_ID}/raw/nowhere.xml#/run/0/system/0",
    "raw file of another upload": "../upload/UploadXXXXXXXXXXXXXXXX/raw/b/vasprun.xml#/run/0/system/0",
    "no such section in the other entry": f"../upload/archive/{OTHER_ID}#/run/0/system/9",
    "other deployment": "https://example.org/prod/v1/api/v1/uploads/u/archive/e#/run/0/system/0",
    "negative position": "#/run/0/system/-1",
    "no such position": "/run/0/system/7",
    "a value on the way": "#/run/0/program/name/0",
    "not a reference": "the second one",
    "slash at the end": "#/run/0/system/1/",
}


def _forms_archive() -> dict[str, Any]:
    calculations: list[dict[str, Any]] = [
        {"energy": {"fermi": 0.5 + i}, "system_ref": ref} for i, ref in enumerate(FORMS.values())
    ]
    calculations[0]["dos_electronic"] = [{"energies": [1.0, 2.0, 3.0]}]
    calculations[0]["calculations_ref"] = ["/run/0/calculation/1", "/run/0/calculation/99"]
    calculations[1]["calculations_ref"] = ["/run/0/calculation/0", "/run/0/calculation/2"]
    return {
        "metadata": {
            "entry_id": FORMS_ID,
            "upload_id": UPLOAD_ID,
            "entry_name": "calc C",
            "mainfile": MAINFILE,
            "domain": "dft",
            "n_quantities": 3,
        },
        "run": [
            {
                "program": {"name": "VASP", "unheard_of": 1, "x_vasp_note": "kept"},
                "system": [
                    {"chemical_composition_hill": "Si", "atoms": {"labels": ["Si"], "n_atoms": 1}},
                    {
                        "chemical_composition_hill": "Ge",
                        "sub_system_ref": f"../upload/archive/{OTHER_ID}#/run/0/system/0",
                    },
                ],
                "calculation": calculations,
            },
            {
                "system": [
                    {"chemical_composition_hill": "C", "sub_system_ref": "/run/1/system/1"},
                    {"chemical_composition_hill": "N", "sub_system_ref": "/run/1/system/0"},
                ]
            },
        ],
        "results": {
            "properties": {
                "electronic": {
                    "dos_electronic": [{"energies": "/run/0/calculation/0/dos_electronic/0/energies"}]
                }
            }
        },
        "workflow2": {
            "m_def": "nomad.datamodel.metainfo.workflow.Workflow",
            "tasks": [
                {
                    "m_def": "nomad.datamodel.metainfo.workflow.TaskReference",
                    "task": f"../upload/archive/{ENTRY_ID}#/workflow2",
                    "inputs": [{"name": "in", "section": f"../upload/archive/{OTHER_ID}#/workflow2"}],
                }
            ],
        },
    }


def archives() -> list[dict[str, Any]]:
    """Return the three archives; what every entry has stands in ``metadata``."""
    other = CASES["archives"][OTHER_ID]
    other = {**other, "metadata": {**other["metadata"], "mainfile": "b/vasprun.xml"}}
    return [CASES["archives"][ENTRY_ID], other, _forms_archive()]


def write_seed(folder: Path) -> None:
    """Write the entries as the real test server takes finished archives over: one upload, not published."""
    upload = {
        "upload_id": UPLOAD_ID,
        "upload_name": "cases of archive required",
        "main_author": USER["user_id"],
        "upload_create_time": "2024-01-01T00:00:00+00:00",
    }
    (folder / "archives").mkdir(parents=True)
    (folder / "users.json").write_text(json.dumps([USER]))
    (folder / "uploads.json").write_text(json.dumps([upload]))
    for archive in archives():
        path = folder / "archives" / f"{archive['metadata']['entry_id']}.archive.json.gz"
        path.write_bytes(gzip.compress(json.dumps(archive).encode(), mtime=0))


def all_cases() -> list[tuple[str, dict[str, Any]]]:
    """Return every case of both files with the id of the entry that it was asked of."""
    files = (CASES, REFERENCE_CASES)
    return [(content["entry_id"], case) for content in files for case in content["cases"]]


def expected(case: dict[str, Any]) -> Answer:
    """Return status, and archive or refusal, of a case, as `comparable` writes them."""
    if case["status"] == 200:
        return 200, case["archive"]
    return comparable(case["status"], case["detail"] if "detail" in case else case["error"]["detail"])


def comparable(status: int, found: Any) -> Answer:
    """Return an answer without what differs from run to run.

    That is where in its code the server failed (the stack trace), and what it was doing when
    it had followed so many references that its stack was full.
    """
    if status != 500:
        return status, found
    left_out = {"exception_traceback"}
    if found["exception_class"] == "RecursionError":
        left_out.add("exception")
    return status, {name: said for name, said in found.items() if name not in left_out}


if __name__ == "__main__":
    write_seed(Path(sys.argv[1]))
