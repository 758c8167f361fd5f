"""Credentials are found in the stated order, kept current, and shown to nobody."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nomadquery.errors import InvalidRequest, NotAuthenticated, NotPermitted
from nomadquery.http.auth import (
    ANONYMOUS,
    Credentials,
    Login,
    Secret,
    expiry_of,
    find_credentials,
    saved_token_file,
)
from nomadquery.http.deployment import Deployment, find_deployment
from nomadquery.http.message import Headers, Reply, Request
from tests.faults.clock import Clock

OASIS = find_deployment("https://our.host/nomad-oasis")
EVERYTHING = {
    "NOMADQUERY_TOKEN": "own-token",
    "NOMAD_CLIENT_ACCESS_TOKEN": "client-token",
    "NOMAD_CLIENT_USER": "client-user",
    "NOMAD_CLIENT_PASSWORD": "client-password",
    "NOMAD_USERNAME": "user",
    "NOMAD_PASSWORD": "password",
}


def found_in(
    folder: Path, environment: Mapping[str, str] | None = None, deployment: Deployment = OASIS
) -> Credentials:
    return find_credentials(
        deployment, environment=environment or {}, working_folder=folder, config_folder=folder / "config"
    )


def save_token(folder: Path, content: str, mode: int = 0o600) -> Path:
    file = saved_token_file(folder / "config", OASIS)
    file.parent.mkdir(parents=True)
    file.write_text(content)
    file.chmod(mode)
    return file


def jwt(expires_s: float) -> str:
    """Return an unsigned token of the usual form that ends at ``expires_s`` (seconds since 1970)."""
    parts = [{"alg": "none"}, {"exp": expires_s, "user": "ada"}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def shown(credentials: Credentials) -> tuple[str | None, str | None, str | None]:
    token, password = credentials.token, credentials.password
    return (
        token.reveal() if token else None,
        credentials.username,
        password.reveal() if password else None,
    )


class Account:
    """A server side of logins that keeps what it was asked."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[Request, Headers]] = []

    def send(self, request: Request, headers: Headers) -> Reply:
        self.asked.append((request, headers))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def as_reply(content: object) -> Reply:
    return Reply(200, Headers(), json.dumps(content).encode(), "https://our.host/nomad-oasis/api/v1/x")


def granted(token: str, expires_in: float | None = 300.0) -> Reply:
    answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
    return as_reply(answer if expires_in is None else {**answer, "expires_in": expires_in})


def test_variables_are_tried_in_the_order_of_the_documentation(tmp_path: Path) -> None:
    """With each variable taken away, the next one is found."""
    expected = [
        (("own-token", None, None), "NOMADQUERY_TOKEN"),
        (("client-token", None, None), "NOMAD_CLIENT_ACCESS_TOKEN"),
        ((None, "client-user", "client-password"), "NOMAD_CLIENT_PASSWORD"),
        ((None, "user", "password"), "NOMAD_PASSWORD"),
    ]
    environment = dict(EVERYTHING)
    for secrets, variable in expected:
        credentials = found_in(tmp_path, environment)
        assert shown(credentials) == secrets
        assert credentials.origin == f"the variable {variable}"
        environment = {n: v for n, v in environment.items() if v not in secrets}
    assert found_in(tmp_path, environment) == ANONYMOUS


def test_arguments_come_before_everything(tmp_path: Path) -> None:
    """A token or login given in code wins over the environment."""
    where = {"environment": EVERYTHING, "working_folder": tmp_path, "config_folder": tmp_path}
    by_token = find_credentials(OASIS, token=" Bearer abc\n", **where)  # type: ignore[arg-type]  # one dict
    by_login = find_credentials(OASIS, username="ada", password=" p w ", **where)  # type: ignore[arg-type]  # same
    assert shown(by_token) == ("abc", None, None)
    assert shown(by_login) == (None, "ada", " p w ")


def test_half_a_login_or_two_are_refused_as_arguments(tmp_path: Path) -> None:
    """A user name alone, and a token beside a login, are mistakes."""
    where = {"environment": {}, "working_folder": tmp_path, "config_folder": tmp_path}
    with pytest.raises(InvalidRequest, match="both username"):
        find_credentials(OASIS, username="ada", **where)  # type: ignore[arg-type]  # one dict
    with pytest.raises(InvalidRequest, match="not both"):
        find_credentials(OASIS, token="t", username="ada", password="p", **where)  # type: ignore[arg-type]  # same


def test_half_a_login_in_the_environment_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Public reads go on without a login, but not in silence."""
    assert found_in(tmp_path, {"NOMAD_CLIENT_PASSWORD": "sesame"}) == ANONYMOUS
    assert "NOMAD_CLIENT_USER" in caplog.text
    assert "sesame" not in caplog.text


def test_a_dotenv_file_is_read_and_changes_nothing(tmp_path: Path) -> None:
    """`.env` of the working folder serves after the variables, unexpanded, outside os.environ."""
    (tmp_path / ".env").write_text("NOMAD_USERNAME=ada\nNOMAD_PASSWORD='pa$HOME ${HOME}'\nOTHER=1\n")
    before = dict(os.environ)
    credentials = found_in(tmp_path)
    assert shown(credentials) == (None, "ada", "pa$HOME ${HOME}")
    assert credentials.origin == "NOMAD_PASSWORD of the file .env"
    assert dict(os.environ) == before
    assert found_in(tmp_path, {"NOMADQUERY_TOKEN": "t"}).origin == "the variable NOMADQUERY_TOKEN"


def test_a_virtual_environment_called_dotenv_is_no_file_of_variables(tmp_path: Path) -> None:
    """A folder `.env` is passed over."""
    (tmp_path / ".env").mkdir()
    assert found_in(tmp_path) == ANONYMOUS


def test_an_unreadable_dotenv_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A `.env` of some other program in another encoding does not stop public reads."""
    (tmp_path / ".env").write_bytes(b"NAME=\xe4\xf6\n")
    assert found_in(tmp_path) == ANONYMOUS
    assert "cannot be read" in caplog.text


def test_a_saved_token_comes_last_and_for_its_deployment_only(tmp_path: Path) -> None:
    """The token of `nomadquery login` serves the deployment that it was saved for."""
    save_token(tmp_path, json.dumps({"api_base": OASIS.api_base, "token": "saved"}))
    assert shown(found_in(tmp_path))[0] == "saved"
    assert shown(found_in(tmp_path, {"NOMADQUERY_TOKEN": "t"}))[0] == "t"
    assert found_in(tmp_path, deployment=find_deployment("prod")) == ANONYMOUS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"api_base": "https://other.host/api/v1", "token": "sesame"}', "is for https://other.host"),
        ('{"api_base": "https://our.host/nomad-oasis/api/v1", "token": 3}', "cannot be a token"),
    ],
)
def test_a_bad_saved_token_is_an_error_with_the_way_out(tmp_path: Path, content: str, words: str) -> None:
    """Reading as nobody instead would give other results in silence."""
    save_token(tmp_path, content)
    with pytest.raises(NotAuthenticated, match=words) as caught:
        found_in(tmp_path)
    assert "sesame" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
def test_a_saved_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Mode 0644 is refused like by ssh."""
    file = save_token(tmp_path, json.dumps({"api_base": OASIS.api_base, "token": "saved"}), mode=0o644)
    with pytest.raises(NotAuthenticated, match="other users") as caught:
        found_in(tmp_path)
    assert str(file) in str(caught.value)


def test_client_variables_for_another_host_are_not_used(tmp_path: Path) -> None:
    """NOMAD_CLIENT_URL says whom NOMAD_CLIENT_… is for; a token goes to no other host."""
    environment = {
        "NOMAD_CLIENT_ACCESS_TOKEN": "t",
        "NOMAD_CLIENT_URL": "https://www.nomad-lab.eu/prod/v1/api",
    }
    assert found_in(tmp_path, environment) == ANONYMOUS
    assert shown(found_in(tmp_path, environment, find_deployment("prod")))[0] == "t"


def test_deployments_in_this_process_read_no_environment(tmp_path: Path) -> None:
    """The demo needs no credentials and gets none."""
    assert found_in(tmp_path, EVERYTHING, find_deployment("demo")) == ANONYMOUS


@pytest.mark.parametrize("token", ["two words", "a\nHost: evil", "tökén"])
def test_what_cannot_be_a_token_is_refused_by_the_name_of_its_place(tmp_path: Path, token: str) -> None:
    """The message names the variable, never the value."""
    environment = {"NOMADQUERY_TOKEN": token}
    with pytest.raises(NotAuthenticated, match="the variable NOMADQUERY_TOKEN") as caught:
        found_in(tmp_path, environment)
    assert token not in str(caught.value)


def test_secrets_are_hidden_in_every_form() -> None:
    """repr, str, format, pickle and plain copies as a dict do not hold them; copies keep them."""
    credentials = Credentials("the variable X", OASIS.api_base, Secret("sesame"), "ada", Secret("open"))
    forms = [repr(credentials), str(credentials), f"{credentials.token}", repr(asdict(credentials))]
    assert not any("sesame" in form or "open" in form for form in forms)
    assert b"sesame" not in pickle.dumps(credentials)
    assert shown(copy.deepcopy(credentials)) == ("sesame", "ada", "open")


def test_credentials_from_a_pickle_refuse_to_act_as_nobody() -> None:
    """In another process the missing secret is an error, not an anonymous reading."""
    carried = pickle.loads(pickle.dumps(Credentials("x", OASIS.api_base, Secret("sesame"))))
    with pytest.raises(NotAuthenticated, match="another process"):
        Login(carried, clock=Clock().time)


def test_the_end_of_a_token_is_read_from_it() -> None:
    """`exp` of a JWT is seconds since 1970; other tokens do not say."""
    assert expiry_of(Secret(jwt(1_763_000_000))) == datetime(2025, 11, 13, 2, 13, 20, tzinfo=UTC)
    assert expiry_of(Secret("nomad_pat_abc")) is None
    assert expiry_of(Secret("a.b.c")) is None


def test_a_password_is_exchanged_for_a_token_by_a_form_once() -> None:
    """One login serves many requests; the form has the grant_type that NOMAD 1.4 demands."""
    account = Account(granted("first"))
    login = Login(Credentials("x", OASIS.api_base, None, "ada", Secret("open")), clock=Clock().time)
    assert login.headers(account.send)["authorization"] == "Bearer first"
    assert login.headers(account.send)["Authorization"] == "Bearer first"
    [(request, headers)] = account.asked
    assert (request.method, request.path, len(headers)) == ("POST", "auth/token", 0)
    assert request.form == (("grant_type", "password"), ("username", "ada"), ("password", "open"))


@pytest.mark.parametrize("answer", [granted("first"), granted(jwt(1_000_300.0), expires_in=None)])
def test_a_token_is_renewed_before_it_ends(answer: Reply) -> None:
    """A token of 300 s is used for 270 s, whether the answer or the token tells its end."""
    clock = Clock(1_000_000.0)
    account = Account(answer, granted("second"))
    login = Login(Credentials("x", OASIS.api_base, None, "ada", Secret("open")), clock=clock.time)
    login.headers(account.send)
    clock.now_s += 269
    login.headers(account.send)
    assert len(account.asked) == 1
    clock.now_s += 2
    assert login.headers(account.send)["Authorization"] == "Bearer second"


def test_a_refused_token_is_replaced_only_if_nobody_did_so_before() -> None:
    """Two threads refused with the same token cause one new login."""
    account = Account(granted("first"), granted("second"))
    login = Login(Credentials("x", OASIS.api_base, None, "ada", Secret("open")), clock=Clock().time)
    refused = login.headers(account.send)
    assert login.renew_after(refused)
    login.headers(account.send)
    assert login.renew_after(refused)
    assert login.headers(account.send)["Authorization"] == "Bearer second"
    assert len(account.asked) == 2


def test_a_given_token_cannot_be_renewed() -> None:
    """Without a password a 401 is final."""
    login = Login(Credentials("x", OASIS.api_base, Secret("t")), clock=Clock().time)
    assert not login.renew_after(Headers({"Authorization": "Bearer t"}))


def test_a_personal_access_token_is_confirmed_once() -> None:
    """One `users/me` for many requests; it is sent with the token."""
    account = Account(as_reply({"user_id": "u"}))
    login = Login(Credentials("x", OASIS.api_base, Secret("nomad_pat_abc")), clock=Clock().time)
    login.headers(account.send)
    login.headers(account.send)
    [(request, headers)] = account.asked
    assert (request.method, request.path) == ("GET", "users/me")
    assert headers["Authorization"] == "Bearer nomad_pat_abc"


def test_an_unknown_personal_access_token_is_an_error_every_time() -> None:
    """NOMAD would treat it as anonymous, and the results would be others."""
    refusals = [NotAuthenticated("no", status=401, detail="Authentication required.") for _ in range(2)]
    account = Account(*refusals)
    login = Login(Credentials("the variable X", OASIS.api_base, Secret("nomad_pat_abc")), clock=Clock().time)
    for _ in range(2):
        with pytest.raises(
            NotAuthenticated, match="does not know the personal access token from the variable X"
        ):
            login.headers(account.send)


def test_a_personal_access_token_that_may_not_read_its_user_is_known() -> None:
    """A 403 for a missing scope comes only to tokens that NOMAD knows (observed with 2.0.0)."""
    account = Account(NotPermitted("no", status=403), NotPermitted("no", status=403))
    login = Login(Credentials("x", OASIS.api_base, Secret("nomad_pat_abc")), clock=Clock().time)
    assert login.headers(account.send)["Authorization"] == "Bearer nomad_pat_abc"
    assert login.identity(account.send).user_id is None


def test_the_origin_tells_an_expired_token() -> None:
    """What stands in errors: where the token came from and that it has ended."""
    credentials = Credentials("the variable X", OASIS.api_base, Secret(jwt(1_763_000_000)))
    assert (
        Login(credentials, clock=lambda: 1_763_000_001.0).origin
        == "the variable X (expired 2025-11-13 02:13 UTC)"
    )
    assert (
        Login(credentials, clock=lambda: 1_762_999_999.0).origin
        == "the variable X (expires 2025-11-13 02:13 UTC)"
    )
    assert Login(ANONYMOUS, clock=Clock().time).origin is None


def test_identity_says_who_from_where_and_how_long() -> None:
    """The user as the server names it, with the end of the token."""
    account = Account(as_reply({"user_id": "u1", "username": "ada", "name": "Ada Lovelace"}))
    login = Login(
        Credentials("the variable X", OASIS.api_base, Secret(jwt(1_763_000_000))), clock=Clock().time
    )
    identity = login.identity(account.send)
    assert (identity.user_id, identity.username, identity.name) == ("u1", "ada", "Ada Lovelace")
    assert (identity.origin, identity.expires) == (
        "the variable X",
        datetime(2025, 11, 13, 2, 13, 20, tzinfo=UTC),
    )


def test_nobody_sends_nothing() -> None:
    """The anonymous identity and its headers cost no request."""
    account = Account()
    login = Login(ANONYMOUS, clock=Clock().time)
    assert len(login.headers(account.send)) == 0
    assert login.identity(account.send).user_id is None


def test_a_login_logs_its_origin_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The log line names the variable only."""
    caplog.set_level(logging.DEBUG)
    login = Login(
        Credentials("the variable X", OASIS.api_base, None, "ada", Secret("open")), clock=Clock().time
    )
    login.headers(Account(granted("first")).send)
    assert "the variable X" in caplog.text
    assert "open" not in caplog.text
    assert "first" not in caplog.text
