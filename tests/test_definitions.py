"""Units and types of custom quantities, from a server's description of their classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from nomadquery.columns.definitions import (
    ClassDefinition,
    Declared,
    Missing,
    Part,
    class_key,
    class_of_index_name,
    declared,
)
from nomadquery.errors import InvalidRequest, NotFound, NotSupported, RateLimited, ServerFailure
from nomadquery.fetch.definitions import Definitions
from nomadquery.http.endpoints import get_schema, parse_schema
from nomadquery.http.message import Headers, Reply, Request, error_for
from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import catalogue_for

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "class-definitions.json").read_text())

JV = "perovskite_solar_cell_database.schema_sections.jv.JV"
XRD = "nomad_measurements.xrd.schema.XRDResult1D"
OPTIMIZATION = "simulationworkflowschema.geometry_optimization.GeometryOptimization"
MESH = "runschema.method.FrequencyMesh"
ELN, EXTENDED, BASE = (
    "_0kJUQBWsMR9PFF7Z1iGam3iOGJj",
    "F9vbAp3tvaOSQE6vDwiYoKEHypJs",
    "BLLJHfamxAHw1cKGMX1tc8Ze5AfL",
)
MAINFILE = "mainfile:dJPp_u6Sr_4LqvPA-htWY6/baseSections.schema.archive.yaml"
PLACE = "/definitions/section_definitions"


class Server:
    """Answers what was recorded of a server, 404 otherwise, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def send(self, request: Request) -> Reply:
        self.asked.append(str(request))
        reply = self._reply(request)
        if not reply.is_ok:
            raise error_for(request, reply)
        return reply

    def _reply(self, request: Request) -> Reply:
        if request.method == "GET":
            name = request.path.removeprefix("schemas/")
            answer, status = RECORDED["schemas"].get(name), 200
            if answer is None:
                answer, status = RECORDED["unknown"]["answer"], RECORDED["unknown"]["status"]
            return as_reply(answer, status)
        empty = {"pagination": {"total": 0}, "data": []}
        asked = request.json["query"]
        return as_reply(next((o["answer"] for o in RECORDED["archives"] if o["query"] == asked), empty))


def as_reply(answer: Any, status: int = 200) -> Reply:
    return Reply(status, Headers(), json.dumps(answer).encode(), "https://our.host/api/v1/x")


def definitions_of(send: Callable[[Request], Reply], release: str = "2.0.0") -> Definitions:
    return Definitions(send, catalogue=catalogue_for(release))


@pytest.mark.parametrize(
    ("class_name", "names", "unit", "kind", "shape"),
    [
        (JV, "default_Jsc", "milliampere / centimeter ** 2", "number", ()),
        (JV, "jv_curve.current_density", "milliampere / centimeter ** 2", "number", ("*",)),
        (JV, "jv_curve", None, "section", ()),
        (JV, "measured", None, "boolean", ()),
        (XRD, "two_theta", "degree", "number", ("*",)),
        (OPTIMIZATION, "results.energies", "joule", "number", ("*",)),
        (OPTIMIZATION, "method.type", None, "text", ()),
        (OPTIMIZATION, "results.n_calculations", None, "integer", ()),
        (MESH, "points", "joule", "other", ("*", "*")),
    ],
)
def test_a_class_of_a_package(
    class_name: str, names: str, unit: str | None, kind: str, shape: tuple[int | str, ...]
) -> None:
    """Its own, inherited and nested quantities; units as the samples' list of quantities has them."""
    found = definitions_of(Server().send).declared(class_name, tuple(names.split(".")))
    assert found is not None
    assert (found.unit, found.kind, found.shape) == (unit, kind, shape)


@pytest.mark.parametrize(
    ("class_name", "names", "unit", "kind"),
    [
        (f"entry_id:{ELN}.Sample.Processes.PvdEvaporation", "chamber_pressure", "millibar", "number"),
        (f"entry_id:{ELN}.Sample", "processes.hotplate_annealing.set_temperature", "kelvin", "number"),
        (f"entry_id:{ELN}#{PLACE}/3", "processes.pvd_evaporation.time", "second", "number"),
        (f"entry_id:{ELN}.Sample", "substrate_thickness", "meter", "number"),
        (f"entry_id:{ELN}.Sample", "chemicals", None, "reference"),
        (f"entry_id:{ELN}.Sample", "chemicals.cas_number", None, "text"),
        (f"{MAINFILE}#{PLACE}/3", "contents.comment", None, "text"),
        (f"entry_id:{EXTENDED}.SubstanceExtended", "comment", None, "text"),
    ],
)
def test_a_class_that_an_entry_defines(class_name: str, names: str, unit: str | None, kind: str) -> None:
    """By name, by position, by the file; inner classes, references, and bases in a third entry."""
    found = definitions_of(Server().send).declared(class_name, tuple(names.split(".")))
    assert found is not None
    assert (found.unit, found.kind) == (unit, kind)


def test_each_class_is_asked_for_once() -> None:
    """All quantities of a class, its parts and its bases, and classes nobody knows."""
    server = Server()
    definitions = definitions_of(server.send)
    for _ in range(3):
        definitions.declared(JV, ("default_Jsc",))
        definitions.declared(JV, ("jv_curve", "voltage"))
        definitions.declared("no.such.Class", ("x",))
    assert server.asked == [f"GET schemas/{JV}", "GET schemas/no.such.Class"]


def test_what_nobody_declares_is_none() -> None:
    """Quantities and classes that are not there, and names below a number."""
    definitions = definitions_of(Server().send)
    assert definitions.declared(JV, ("default_jsc",)) is None
    assert definitions.declared(JV, ("default_Jsc", "value")) is None
    assert definitions.declared("no.such.Class", ("x",)) is None
    assert definitions.declared("entry_id:aaaaaaaaaaaaaaaaaaaaaaaaaaaa.Class", ("x",)) is None


def test_a_server_without_descriptions_is_asked_once() -> None:
    """A server before 1.4 says Not Found; the shipped tables answer, and nobody else."""
    asked: list[str] = []

    def send(request: Request) -> Reply:
        asked.append(request.path)
        raise NotSupported("Not Found", status=404)

    definitions = definitions_of(send)
    assert definitions.declared("my_package.schema.Mine", ("x",)) is None
    found = definitions.declared(
        "perovskite_solar_cell_database.schema.PerovskiteSolarCell", ("jv", "default_Jsc")
    )
    assert found is not None
    assert found.unit == "milliampere / centimeter ** 2"
    assert asked == ["schemas/my_package.schema.Mine"]


def test_1_3_is_not_asked() -> None:
    """It has no such endpoint; NOMAD's own classes are known from the shipped tables."""
    server = Server()
    definitions = definitions_of(server.send, "1.3.17")
    found = definitions.declared("nomad.datamodel.metainfo.basesections.v1.Component", ("mass",))
    assert found is not None
    assert found.unit == "kilogram"
    assert server.asked == []


def test_a_local_deployment_describes_no_classes(tmp_path: Path) -> None:
    """It refuses by name; nothing is known, and nothing fails."""
    local = LocalDeployment(LocalStore(tmp_path))

    def send(request: Request) -> Reply:
        reply = local.answer(request, api_base="local:/api/v1")
        if not reply.is_ok:
            raise error_for(request, reply)
        return reply

    definitions = definitions_of(send)
    assert definitions.declared("my_package.schema.Mine", ("x",)) is None
    assert definitions.declared(f"entry_id:{ELN}.Sample", ("name",)) is None


@pytest.mark.parametrize(
    "failure",
    [NotFound("no", status=404), ServerFailure("broken", status=500), InvalidRequest("no", status=400)],
)
def test_a_refusal_is_no_error(failure: Exception) -> None:
    """A class that the server cannot describe has no unit; the table goes on."""

    def send(_: Request) -> Reply:
        raise failure

    definitions = definitions_of(send)
    assert definitions.declared("my_package.schema.Mine", ("x",)) is None
    assert definitions.declared(f"entry_id:{ELN}.Sample", ("name",)) is None


@pytest.mark.parametrize("failure", [RateLimited("slow"), ServerFailure("down", status=502)])
def test_a_server_that_is_down_is_an_error(failure: Exception) -> None:
    """Otherwise units would depend on the network."""

    def send(_: Request) -> Reply:
        raise failure

    with pytest.raises(type(failure)):
        definitions_of(send).declared("my_package.schema.Mine", ("x",))


@pytest.mark.parametrize(
    ("m_def", "key"),
    [
        ("pkg.schema.MySection", "pkg.schema.MySection"),
        ("pkg.schema.MySection@72568af16bbb9a150ef3", "pkg.schema.MySection"),
        (f"#{PLACE}/0", f"entry_id:E1#{PLACE}/0"),
        (f"{PLACE}/0", f"entry_id:E1#{PLACE}/0"),
        (f"#{PLACE}/A/inner_section_definitions/B", "entry_id:E1.A.B"),
        (f"../upload/U2/raw/a b/s.archive.yaml#{PLACE}/My", "mainfile:U2/a b/s.archive.yaml#My"),
        (f"../upload/raw/s.archive.yaml#{PLACE}/7", f"mainfile:U1/s.archive.yaml#{PLACE}/7"),
        ("../upload/archive/mainfile/s.archive.yaml#My", "mainfile:U1/s.archive.yaml#My"),
        (f"../uploads/U2/archive/E2#{PLACE}/0", f"entry_id:E2#{PLACE}/0"),
        ("../upload/archive/E2#definitions/section_definitions/My", "entry_id:E2.My"),
        ("entry_id:E2.My", "entry_id:E2.My"),
        (f"https://other.host/nomad/api/v1/uploads/U/archive/E#{PLACE}/0", None),
        ("nonsense", None),
    ],
)
def test_keys_of_classes(m_def: str, key: str | None) -> None:
    """Every form in which an archive of entry E1 in upload U1 may name a class."""
    assert class_key(m_def, entry_id="E1", upload_id="U1") == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("data.jv.default_Jsc#pkg.schema.Cell", "pkg.schema.Cell"),
        ("data.x#entry_id:abc.MySection", "entry_id:abc.MySection"),
        ("data.x#entry_id:abc.MySection#float", "entry_id:abc.MySection"),
        ("data.x", None),
    ],
)
def test_keys_of_classes_in_names_of_the_index(name: str, key: str | None) -> None:
    """The class that follows the hash; a type may follow it."""
    assert class_of_index_name(name) == key


LENGTH, MASS = Declared("meter", "number"), Declared("gram", "number")


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        ({"a.A": ClassDefinition("a.A", {"x": LENGTH}, bases=("b.B",))}, LENGTH),
        ({"a.A": ClassDefinition("a.A", bases=("b.B",))}, Missing("b.B")),
        (
            {
                "a.A": ClassDefinition("a.A", bases=("b.B", "c.C")),
                "b.B": ClassDefinition("b.B", {"x": LENGTH}),
                "c.C": ClassDefinition("c.C", {"x": MASS}),
            },
            MASS,
        ),
        ({"a.A": ClassDefinition("a.A", bases=("a.A",))}, None),
        ({}, Missing("a.A")),
    ],
)
def test_inheritance(classes: Mapping[str, ClassDefinition], found: object) -> None:
    """Own before inherited, the later base before the earlier (as NOMAD has it), and circles end."""
    assert declared(classes, "a.A", ("x",)) == found


def test_a_path_asks_for_the_next_class() -> None:
    """Through sub sections and references."""
    reference = Declared(None, "reference", (), "c.C")
    classes = {"a.A": ClassDefinition("a.A", {"ref": reference}, {"part": Part("b.B", True)})}
    assert declared(classes, "a.A", ("part", "x")) == Missing("b.B")
    assert declared(classes, "a.A", ("ref", "x")) == Missing("c.C")
    assert declared(classes, "a.A", ("ref",)) == reference
    assert declared(classes, "a.A", ("part",)) == Declared(None, "section", (), "b.B")


def test_the_request_for_a_class() -> None:
    """Its Python name in the address; nothing else may stand there."""
    assert str(get_schema(JV)) == f"GET schemas/{JV}"
    for wrong in ("", "My", "../users/me", "a.b/c", "entry_id:x.Y"):
        with pytest.raises(InvalidRequest, match=r"package\.module\.Class"):
            get_schema(wrong)
    assert parse_schema(as_reply(RECORDED["schemas"][JV]))["title"] == "JV"


def test_the_table_of_plugins_is_small() -> None:
    """At most 15 kB in the package."""
    assert len(files("nomadquery.columns").joinpath("classes.json.gz").read_bytes()) <= 15_000
