"""Processes of one machine keep the limits together, learn from one another, and stop nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from nomadquery import Nomad
from nomadquery.http.deployment import find_deployment
from nomadquery.http.lanes import Done
from nomadquery.http.message import Request
from nomadquery.http.pace import RUNTIME_VARIABLE, Pace
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.session import pace_folder
from nomadquery.store import shared
from tests.command_line import A_MINUTE, ROOT
from tests.faults.clock import Clock
from tests.faults.limited import LimitedServer
from tests.faults.server import FaultServer, as_json, as_proxy

QUERY = Request("POST", "entries/query", json={"query": {}})
HOLDING = """
import sys, time
from pathlib import Path
from nomadquery.http.pace import Pace
pace = Pace(lambda: Path(sys.argv[1]))
held = [pace.slot("search") for _ in range(8)]
for slot in held:
    slot.__enter__()
print("held", flush=True)
time.sleep(60)
"""
WAITING = """
import sys
from pathlib import Path
from nomadquery.http.pace import Pace
print("waits", flush=True)
try:
    with Pace(lambda: Path(sys.argv[1])).slot("search"):
        print("started")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pace"


def sharing(folder: Path, clock: Clock | None = None) -> Pace:
    """Return a pace as another process would have it, which keeps a clock of the test's if given."""
    if clock is None:
        return Pace(lambda: folder)
    return Pace(lambda: folder, clock=clock.time, sleep=clock.sleep)


def python(code: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_four_processes_together_stay_below_the_limits(folder: Path) -> None:
    """All 120 requests are answered, less than 1 % with a 503 in between; none is asked for twice else."""
    with LimitedServer(took_s=0.25) as server:
        command = [sys.executable, "-m", "tests.faults.asking", server.api_base, str(folder), "6", "30"]
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        answers = [process.communicate(timeout=A_MINUTE)[0].splitlines() for process in processes]
    assert answers == [['{"ok": true}'] * 30] * 4
    assert len(server.received) == 120 + server.n_refused
    assert server.n_refused < 0.01 * 120 + 1e-9
    assert 4 <= server.most <= 10


def test_a_killed_process_stops_nobody(folder: Path) -> None:
    """It held all eight places; within seconds they are free."""
    process = python(HOLDING, folder)
    assert line_of(process) == "held"
    pace = sharing(folder)
    assert pace.traffic().n_in_flight("searches") == 8
    process.kill()
    process.communicate()
    began_s = time.monotonic()
    with pace.slot("search"):
        assert time.monotonic() - began_s < 5
        assert pace.traffic().n_in_flight("searches") == 1
    assert len(list(folder.glob("*.seat"))) == 1


def test_waiting_for_room_can_be_interrupted(folder: Path) -> None:
    """Ctrl-C ends a process that waits while another holds all places."""
    holder = python(HOLDING, folder)
    assert line_of(holder) == "held"
    waiter = python(WAITING, folder)
    assert line_of(waiter) == "waits"
    time.sleep(0.3)
    waiter.send_signal(signal.SIGINT)
    assert waiter.communicate(timeout=10)[0] == "interrupted\n"
    holder.kill()
    holder.communicate()


def test_one_learns_from_what_another_was_refused(folder: Path) -> None:
    """A 503 to one halves the pace of both; the answers to both bring it back."""
    clock = Clock()
    one, other = sharing(folder, clock), sharing(folder, clock)
    for pace, outcome in ((one, Done("refused")), (other, Done("answered"))):
        with pace.slot("search") as slot:
            slot.done = outcome
    assert one.lane("search") == other.lane("search")
    assert one.lane("search").per_s == pytest.approx(12.5 + 0.25)


def test_the_rate_is_that_of_all_together(folder: Path) -> None:
    """Two that ask in turn start 25 requests a second together, after a burst of four."""
    clock = Clock()
    paces = [sharing(folder, clock), sharing(folder, clock)]
    times = []
    for number in range(100):
        with paces[number % 2].slot("search"):
            times.append(clock.now_s)
    assert times[-1] - times[0] == pytest.approx(96 / 25, rel=0.02)


def test_retry_after_holds_back_the_others(folder: Path) -> None:
    """One is told to wait for 17 s; another that asks then waits as long."""
    clock = Clock()
    began_s = clock.now_s

    def other_asks(pause_s: float) -> None:
        with sharing(folder, clock).slot("search"):
            assert pause_s == clock.now_s - began_s == pytest.approx(17)

    with FaultServer() as server:
        server.will_answer(as_proxy(429, "Slow down", Retry_After="17"))
        deployment = find_deployment(server.api_base)
        transport = Transport(
            RequestsWire(server.api_base),
            deployment,
            pace=sharing(folder, clock),
            clock=clock.time,
            sleep=other_asks,
        )
        transport.send(QUERY)
        transport.close()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"null",
        b"[]" * 9000,
        b'{"lanes": {}, "format": 1}',
        b'{"format": 2}',
        b"\xff\x00",
        b"\0" * 4096,
    ],
    ids=str,
)
def test_a_damaged_note_is_started_afresh(folder: Path, note: bytes) -> None:
    """Empty, cut, of another format: nothing is raised, and what is in flight here is known again."""
    pace = sharing(folder, Clock())
    with pace.slot("search"):
        (folder / "note.json").write_bytes(note)
        with pace.slot("archive"):
            traffic = pace.traffic()
    assert (traffic.n_in_flight("searches"), traffic.n_in_flight("archives")) == (1, 1)


def test_a_clock_that_starts_again_blocks_nobody(folder: Path) -> None:
    """After a restart of the machine the old times lie in the future: they are dropped."""
    before, after = Clock(now_s=1_000_000.0), Clock(now_s=5.0)
    with sharing(folder, before).slot("search") as slot:
        slot.done = Done("refused", hold_s=60)
    with sharing(folder, after).slot("search"):
        assert after.pauses == []


@pytest.mark.parametrize("where", ["a file", "a network"])
def test_a_folder_that_cannot_be_used_costs_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Requests go on at a pace of their own; the warning names the variable to set."""
    folder.write_text("a file in its place")
    if where == "a network":
        (table := folder.with_name("mounts")).write_text(f"server:/x {folder.parent} nfs4 rw 0 0\n")
        monkeypatch.setattr(shared, "_MOUNTS", table)
    clock = Clock()
    pace = sharing(folder, clock)
    with pytest.warns(UserWarning, match=f"cannot be shared.*{RUNTIME_VARIABLE}") as told:
        for _ in range(40):
            with pace.slot("search") as slot:
                slot.done = Done("answered")
    assert len(told) == 1
    assert sum(clock.pauses) == pytest.approx(36 / 25, rel=0.02)


def test_a_folder_that_becomes_unusable_costs_one_warning(folder: Path) -> None:
    """What this process has in flight is still counted."""
    pace = sharing(folder, Clock())
    with pace.slot("search"):
        for path in [*folder.iterdir(), folder]:
            path.rmdir() if path.is_dir() else path.unlink()
        folder.write_text("a file in its place")
        with pytest.warns(UserWarning, match="cannot be shared") as told, pace.slot("search"):
            assert pace.traffic().n_in_flight("searches") == 2
    assert pace.traffic().n_in_flight("searches") == 0
    assert len(told) == 1


def test_a_folder_that_is_cleared_away_is_made_again(folder: Path) -> None:
    """Systems clear runtime folders; nobody is told."""
    pace = sharing(folder, Clock())
    with pace.slot("search"):
        for path in [*folder.iterdir(), folder]:
            path.rmdir() if path.is_dir() else path.unlink()
        assert pace.traffic().n_in_flight("searches") == 1


def test_threads_of_a_process_have_their_own_places(folder: Path) -> None:
    """Eight threads and two paces on one folder: never more than two in flight, and all come through."""
    paces = [Pace(lambda: folder, per_s=1e6, in_flight=2) for _ in range(2)]
    counting, running, most = threading.Lock(), [0], [0]

    def ask(number: int) -> None:
        with paces[number % 2].slot("search" if number % 3 else "raw"):
            with counting:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.01)
            with counting:
                running[0] -= 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_takes_its_own_seat(folder: Path) -> None:
    """What the parent has in flight is not the child's to give back."""
    pace = sharing(folder)
    with pace.slot("search"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads, of which there are none here
            child = os.fork()
        if child == 0:
            is_right = False
            try:
                with pace.slot("search"):
                    is_right = pace.traffic().n_in_flight("searches") == 2
            finally:
                os._exit(0 if is_right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert pace.traffic().n_in_flight("searches") == 1


def test_nothing_is_made_before_the_first_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client makes no folder; its first request makes one for the host."""
    monkeypatch.setenv(RUNTIME_VARIABLE, str(tmp_path / "runtime"))
    with FaultServer() as server:
        server.will_answer(as_json({"version": "2.0.0"}))
        nomad = Nomad(server.api_base, cache_dir=tmp_path / "cache")
        assert not (tmp_path / "runtime").exists()
        nomad.info()
        [host] = (tmp_path / "runtime" / "pace").iterdir()
    assert host.name == f"127-0-0-1-{server.port}"


def test_deployments_of_one_host_share_its_limits() -> None:
    """NOMAD's limits are per address, whatever the deployment."""
    environment = {RUNTIME_VARIABLE: "/somewhere"}
    places = {pace_folder(find_deployment(name), environment) for name in ("prod", "staging", "test")}
    assert places == {Path("/somewhere/pace/nomad-lab-eu")}


def test_without_a_variable_it_is_the_runtime_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is what platformdirs says; that another than the usual is taken is no warning."""
    (own := tmp_path / "own").mkdir(mode=0o700)
    found: Callable[[], Path] = lambda: pace_folder(find_deployment("prod"), {})  # noqa: E731
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if sys.platform == "linux":
        assert found() == own / "nomadquery" / "pace" / "nomad-lab-eu"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert found().parts[-3:] == ("nomadquery", "pace", "nomad-lab-eu")
