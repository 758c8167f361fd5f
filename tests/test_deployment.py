"""Names, addresses and folders find their deployment."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from nomadquery.errors import InvalidRequest, NomadError, ResponseFormatError
from nomadquery.http.deployment import default_deployment, find_deployment, release_of

PROD = "https://nomad-lab.eu/prod/v1/api/v1"
STAGING = "https://nomad-lab.eu/prod/v1/staging/api/v1"
TEST = "https://nomad-lab.eu/prod/v1/test/api/v1"


@pytest.mark.parametrize(
    ("name", "api_base"), [("prod", PROD), ("staging", STAGING), ("test", TEST), (" Prod ", PROD)]
)
def test_central_deployments_have_names(name: str, api_base: str) -> None:
    """The three names lead to the published API bases."""
    found = find_deployment(name)
    assert (found.api_base, found.kind, found.name) == (api_base, "central", name.strip().lower())


@pytest.mark.parametrize(
    ("address", "api_base"),
    [
        ("https://nomad-lab.eu", PROD),
        ("nomad-lab.eu", PROD),
        ("http://nomad-lab.eu/prod/v1", PROD),
        ("http://www.nomad-lab.eu/prod/v1/gui/search/entries?results.material.elements=Ti#top", PROD),
        ("HTTPS://Nomad-Lab.EU:443/prod/v1/api/v1/extensions/docs", PROD),
        ("https://nomad-lab.eu/prod/v1/gui/", PROD),
        ("https://repository.nomad-coe.eu/app/gui", PROD),
        ("https://nomad-lab.eu/prod/rae/gui/search", PROD),
        ("http://nomad-lab.eu/prod/v1/test/gui/about/information", TEST),
        ("nomad-lab.eu/prod/v1/staging/api", STAGING),
        ("https://nomad-lab.eu/prod/v1/develop/api/v1", "https://nomad-lab.eu/prod/v1/develop/api/v1"),
    ],
)
def test_pasted_central_addresses_are_always_https(address: str, api_base: str) -> None:
    """Every spelling of a central address leads to its API base by https."""
    found = find_deployment(address)
    assert (found.api_base, found.kind) == (api_base, "central")


@pytest.mark.parametrize(
    "address",
    [
        "https://our.host/nomad-oasis",
        "https://our.host/nomad-oasis/",
        "our.host/nomad-oasis",
        "OUR.host/nomad-oasis/gui",
        "https://our.host/nomad-oasis/gui/search/entries?owner=public&results.material.elements=Ti",
        "https://our.host/nomad-oasis/api",
        "https://our.host//nomad-oasis/api/v1/",
        "https://our.host:443/nomad-oasis/api/v1/extensions/docs#/entries",
        "  <https://our.host/nomad-oasis/docs/index.html> ",
        "https://our.host",
        "our.host",
    ],
)
def test_every_spelling_of_an_oasis_is_the_same(address: str) -> None:
    """What people paste from browser, mail and documents finds one and the same Oasis."""
    found = find_deployment(address)
    assert found.api_base == "https://our.host/nomad-oasis/api/v1"
    assert (found.kind, found.name) == ("oasis", "our.host/nomad-oasis")


@pytest.mark.parametrize(
    ("address", "api_base"),
    [
        ("http://our.host/nomad-oasis", "http://our.host/nomad-oasis/api/v1"),
        ("our.host:80/nomad-oasis", "http://our.host/nomad-oasis/api/v1"),
        ("our.host:8443/lab", "https://our.host:8443/lab/api/v1"),
        ("https://our.host/gui/search", "https://our.host/api/v1"),
        ("http://127.0.0.1:8765/api/v1", "http://127.0.0.1:8765/api/v1"),
        ("127.0.0.1:8765", "http://127.0.0.1:8765/api/v1"),
        ("http://localhost", "http://localhost/nomad-oasis/api/v1"),
        ("localhost:8000/fairdi/nomad/latest/gui", "http://localhost:8000/fairdi/nomad/latest/api/v1"),
        ("192.168.1.20", "http://192.168.1.20/nomad-oasis/api/v1"),
        ("10.0.0.5:8080/nomad-oasis/gui/", "http://10.0.0.5:8080/nomad-oasis/api/v1"),
        ("http://[::1]:8765", "http://[::1]:8765/api/v1"),
        ("lab-pc:8000/nomad-oasis", "http://lab-pc:8000/nomad-oasis/api/v1"),
    ],
)
def test_scheme_and_port_of_other_hosts_are_kept(address: str, api_base: str) -> None:
    """A given scheme stays; without one, near hosts are asked by http and named ones by https."""
    assert find_deployment(address).api_base == api_base


def test_local_is_kept_in_the_users_data_folder() -> None:
    """`local` is a folder of the user's, inside this process."""
    found = find_deployment("local")
    assert found.folder == platformdirs.user_data_path("nomadquery", appauthor=False) / "local"
    assert (found.kind, found.in_process, found.is_read_only) == ("local", True, False)


def test_demo_is_read_only_and_in_process() -> None:
    """The demo has no folder of the user's and takes no writes."""
    found = find_deployment("demo")
    assert (found.kind, found.folder, found.in_process, found.is_read_only) == ("demo", None, True, True)


@pytest.mark.parametrize(
    "where", ["./mine", "data/mine", "~/mine", "/tmp/mine", "..", Path("mine"), Path("test")]
)
def test_paths_are_folders_of_local_deployments(where: str | Path) -> None:
    """A Path, or a text that is written like a path, is a folder; it need not exist."""
    found = find_deployment(where)
    assert (found.kind, found.folder) == ("folder", Path(where).expanduser().resolve())


def test_an_existing_folder_needs_no_separator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare word that is a folder here is one, even if it looks like a host."""
    (tmp_path / "my.data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_deployment("my.data").folder == tmp_path.resolve() / "my.data"


def test_a_file_is_no_deployment(tmp_path: Path) -> None:
    """A file is refused with the reason."""
    (tmp_path / "table.csv").write_text("a")
    with pytest.raises(InvalidRequest, match="is a file"):
        find_deployment(tmp_path / "table.csv")


@pytest.mark.parametrize(
    "where",
    [
        "",
        "  ",
        "prodd",
        "nomad",
        "ftp://our.host/nomad",
        "https://",
        "http://:80",
        "our.host:port",
        "our host.de",
    ],
)
def test_what_is_nothing_is_refused_with_what_is_known(where: str) -> None:
    """The error is a NomadError and a ValueError and lists the names."""
    with pytest.raises(InvalidRequest, match="'prod', 'staging', 'test', 'demo', 'local'") as caught:
        find_deployment(where)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, NomadError)
    assert caught.value.status == 0


def test_a_misspelt_name_gets_the_right_one() -> None:
    """The nearest name is told."""
    with pytest.raises(InvalidRequest, match="Did you mean 'staging'"):
        find_deployment("stagging")


def test_a_page_of_the_central_site_is_no_deployment() -> None:
    """A page of the web site is told from a deployment."""
    with pytest.raises(InvalidRequest, match="not a NOMAD deployment"):
        find_deployment("https://nomad-lab.eu/nomad-lab/terms.html")


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    """Who pastes user:password@host learns another way, and the message does not hold the password."""
    with pytest.raises(InvalidRequest, match="username=") as caught:
        find_deployment("https://ada:sesame@our.host/nomad-oasis")
    assert "sesame" not in str(caught.value)


def test_only_the_default_is_not_named() -> None:
    """Whoever names no deployment reads the public one and may not write."""
    assert default_deployment().api_base == find_deployment("prod").api_base
    assert not default_deployment().is_named
    assert find_deployment("prod").is_named


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("2.0.0", "2.0.0"),
        ("2.0.0rc1", "2.0.0"),
        ("2.3.1", "2.0.0"),
        ("1.4.3", "1.4.3"),
        ("1.4.3.dev12+gabc", "1.4.3"),
        ("1.5.0", "1.4.3"),
        ("1.3.17", "1.3.17"),
        ("v1.3.2", "1.3.17"),
        ("1.2.0", "1.3.17"),
    ],
)
def test_a_version_counts_as_the_newest_known_release_before_it(version: str, release: str) -> None:
    """Patch versions and suffixes do not matter; older than all known is the oldest."""
    assert release_of({"version": version}) == release


@pytest.mark.parametrize("info", [{}, {"version": None}, {"version": "latest"}, {"version": 2}])
def test_an_unreadable_version_is_an_error(info: dict[str, object]) -> None:
    """Nothing is guessed."""
    with pytest.raises(ResponseFormatError, match="version"):
        release_of(info)
