"""``nomadquery whoami`` and ``login``: who asks, and the token that is kept."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.command_line import A_MINUTE, Shell
from tests.faults.server import FaultServer, as_json

ADA = {"user_id": "user-1", "username": "ada", "name": "Ada Lovelace"}
EXPIRES_S = 4_102_444_800  # 2100-01-01 00:00 UTC


def a_token(**claims: object) -> str:
    """Return a token as NOMAD's login gives them: three parts, the second with the claims."""
    return f"header.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


TOKEN = a_token(exp=EXPIRES_S)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def saved(shell: Shell) -> list[Path]:
    return list((shell.home / "config").rglob("*.json"))


def test_nobody_is_nobody(shell: Shell) -> None:
    """A local deployment knows no users."""
    found = shell.run("whoami", "-d", shell.deployment)
    assert found.stdout.split()[2:] == ["user", "nobody", "from", "no", "credentials"]


def test_whoami_says_who_where_from_and_how_long(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token itself is not shown."""
    with FaultServer() as server:
        server.will_answer(as_json(ADA))
        monkeypatch.setattr(Shell, "environment", {**shell.environment, "NOMADQUERY_TOKEN": TOKEN})
        found = shell.run("whoami", "-d", server.api_base)
    assert "Ada Lovelace (ada)" in found.stdout
    assert "the variable NOMADQUERY_TOKEN" in found.stdout
    assert "2100-01-01 00:00 UTC" in found.stdout
    assert TOKEN not in found.output


def test_a_token_from_a_pipe_is_checked_and_kept_for_its_owner_only(shell: Shell) -> None:
    """Later commands use it."""
    with FaultServer() as server:
        server.will_answer(as_json(ADA), as_json(ADA))
        found = shell.run("login", "-d", server.api_base, stdin=f"{TOKEN}\n")
        assert found.exit_code == 0, found.output
        later = shell.run("whoami", "-d", server.api_base)
        [file] = saved(shell)
        assert json.loads(file.read_text()) == {"api_base": server.api_base, "token": TOKEN}
        assert [one.headers["authorization"] for one in server.received] == [f"Bearer {TOKEN}"] * 2
    assert str(file) in found.stderr
    assert "the token saved by `nomadquery login`" in later.stdout
    assert TOKEN not in found.output + later.output
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("typed", ["", "two words\n", "unknown\n"])
def test_a_token_that_does_not_hold_is_not_kept(shell: Shell, typed: str) -> None:
    """Empty, no token at all, or refused by the server."""
    with FaultServer() as server:
        server.will_answer(as_json({"detail": "Authentication required."}, status=401))
        found = shell.run("login", "-d", server.api_base, stdin=typed)
    assert found.exit_code == 1
    assert not saved(shell)


@pytest.mark.parametrize("where", ["demo", "local", "./folder"])
def test_a_deployment_without_users_takes_no_login(shell: Shell, where: str) -> None:
    """It is wrong use."""
    found = shell.run("login", "-d", where, stdin=f"{TOKEN}\n")
    assert found.exit_code == 2
    assert "knows no users" in found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_password_typed_on_a_terminal_becomes_an_app_token(shell: Shell) -> None:
    """It is neither shown nor kept."""
    import pty

    ours, theirs = pty.openpty()
    access = as_json({"access_token": a_token(exp=EXPIRES_S, sub="short"), "expires_in": 600})
    with FaultServer() as server:
        server.will_answer(access, as_json({"app_token": TOKEN}), as_json(ADA))
        with shell.running("login", "-d", server.api_base, stdin=theirs) as process:
            os.write(ours, b"ada\n")
            assert process.stderr is not None
            prompt = ""
            while not prompt.endswith("Password: "):
                sign = process.stderr.read(1)
                assert sign, prompt  # else it has ended
                prompt += sign
            os.write(ours, b"ada-password\n")
            stdout, stderr = process.communicate(timeout=A_MINUTE)
        paths = [one.path for one in server.received]
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, stderr
    assert paths == ["/api/v1/auth/token", "/api/v1/auth/app_token?expires_in=2592000", "/api/v1/users/me"]
    assert json.loads(saved(shell)[0].read_text())["token"] == TOKEN
    assert "Ada Lovelace" in stdout
    assert "ada-password" not in prompt + stdout + stderr
