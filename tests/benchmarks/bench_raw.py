"""A zip of many files to disk: plain 1 MiB streaming, checked as it arrives, extracted on the way.

Run ``python tests/benchmarks/bench_raw.py [--mb 2000] [--files 5000] [--runs 3]``. The zip is written as
NOMAD writes it, stored or deflated, every size behind its data, and comes over loopback from a process of
its own. Each run is a process too, and the kinds of runs take turns; what is printed are medians, the ratio
to plain streaming, and the peak memory beyond that of a process that has only imported what it needs.
"listed" is extraction with the sizes of a listing, where nothing has to be searched for.

Last comes a whole download: the stored zip of an upload of a local deployment on a port, streamed plainly by
``requests`` ("plain"), and by `RawFiles.download` with listing, SHA-256, fsync and manifest ("download").
And ``--singly`` small files, a request each, from a stub that refuses more than 30 a second or 10 at once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
BLOCK = 1 << 20
KINDS = ("nothing", "plain", "checked", "extracted", "listed")
DOWNLOADS = ("nothing", "plain", "download")


class Forwards:
    """A file that zipfile cannot go back in."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, block: bytes) -> int:
        return self._stream.write(block)

    def flush(self) -> None:
        self._stream.flush()


def make(path: Path, n_bytes: int, n_files: int, is_deflated: bool) -> None:
    """Write the zip: numbers as text, which pack to about half."""
    chance = random.Random(0)
    text = " ".join(f"{chance.uniform(-9, 9):.8f}" for _ in range(200_000)).encode()
    size = n_bytes // n_files
    with path.open("wb") as raw:
        target: Any = Forwards(raw)
        method = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
        with zipfile.ZipFile(target, "w", method) as made:
            for n in range(n_files):
                info = zipfile.ZipInfo(f"upload/{n // 50}/OUTCAR-{n}")
                info.compress_type = method
                with made.open(info, "w", force_zip64=True) as one:
                    for start in range(0, size, len(text)):
                        one.write(text[: min(len(text), size - start)])


def serve(folder: Path) -> None:
    """Give the files of a folder, in chunks as NOMAD does; print the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with (folder / Path(self.path).name).open("rb") as stream:
                while block := stream.read(BLOCK):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def deploy(folder: Path) -> None:
    """Serve a local deployment with the files of the stored zip as one upload; print its address."""
    from nomadquery.local.server import serve as serve_deployment
    from nomadquery.local.store import LocalStore
    from tests.local_entries import an_archive

    with LocalStore(folder / "deployment") as store, zipfile.ZipFile(folder / "False.zip") as made:
        store.add_archives([an_archive("e", upload_id="up", mainfile="upload/0/OUTCAR-0")])
        made.extractall(folder / "files")
        store.add_raw_files("up", folder / "files")
        shutil.rmtree(folder / "files")
        with serve_deployment(store) as api_base:
            print(api_base, flush=True)
            sys.stdin.read()


def run_download(kind: str, api_base: str, dest: Path) -> None:
    """Do one run; print its seconds and the peak memory in kB."""
    import pandas  # noqa: F401 # it is not what is measured
    import pyarrow.parquet  # noqa: F401
    import requests

    from nomadquery import Nomad

    began = time.perf_counter()
    match kind:
        case "plain":
            answer = requests.get(f"{api_base}/uploads/up/raw", stream=True, timeout=60)
            with (dest / "whole.zip").open("wb") as target:
                for block in answer.iter_content(BLOCK):
                    target.write(block)
                os.fsync(target.fileno())
        case "download":
            files = Nomad(api_base, cache_dir=dest / "cache", progress=False).raw("up")
            files.download(dest / "files", layout="upload", route="upload", progress=False)
    tell(time.perf_counter() - began)


def run(kind: str, port: int, name: str, dest: Path) -> None:
    """Do one run; print its seconds and the peak memory in kB."""
    from nomadquery.raw.unpack import members

    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    if kind != "nothing":
        connection.request("GET", f"/{name}")
        answer = connection.getresponse()
        if kind == "plain":
            with (dest / "whole.zip").open("wb") as target:
                while block := answer.read(BLOCK):
                    target.write(block)
        else:
            sizes = json.loads((dest.parent / "sizes.json").read_bytes()) if kind == "listed" else None
            for one in members(answer, sizes=sizes):
                keep(Path(os.devnull) if kind == "checked" else dest / one.name, one.blocks())
    tell(time.perf_counter() - began)


def tell(seconds: float) -> None:
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    print(json.dumps([seconds, int(peak[1]) if peak else 0]))


def keep(path: Path, blocks: Iterator[bytes]) -> None:
    """Write blocks to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as target:
        for block in blocks:
            target.write(block)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--mb", type=int, default=2_000)
    options.add_argument("--files", type=int, default=5_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--singly", type=int, default=5_000)
    given = options.parse_args()
    if given.singly:
        singly(given.singly)
    if not given.files:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for is_deflated in (False, True):
            make(folder / f"{is_deflated}.zip", given.mb * 10**6, given.files, is_deflated)
        with zipfile.ZipFile(folder / "False.zip") as made:
            sizes = {info.filename: info.file_size for info in made.infolist()}
        (folder / "sizes.json").write_text(json.dumps(sizes))
        server = subprocess.Popen(child("serve", folder), stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert server.stdout is not None
        try:
            port = server.stdout.readline().strip()
            for is_deflated in (False, True):
                print("deflated" if is_deflated else "stored")
                compare(KINDS, ("run", port, f"{is_deflated}.zip"), folder, given.runs)
        finally:
            server.kill()
            server.wait()
        deployment = subprocess.Popen(
            child("deploy", folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert deployment.stdout is not None
        try:
            api_base = deployment.stdout.readline().strip()
            print("a whole upload")
            compare(DOWNLOADS, ("download", api_base), folder, given.runs)
        finally:
            deployment.kill()
            deployment.wait()


def singly(n_files: int) -> None:
    """Print how many small files come in a second, of the 25 that the pace allows."""
    from nomadquery import Nomad
    from tests.benchmarks.conditions import Options
    from tests.benchmarks.raw import UPLOAD
    from tests.benchmarks.stub import counts, running

    limits = Options(raw_files=n_files, raw_bytes=1_000, rate_per_s=30, concurrent=10)
    with running(limits) as address, tempfile.TemporaryDirectory() as name:
        nomad = Nomad(address, cache_dir=f"{name}/cache")
        files = nomad.raw(UPLOAD)
        assert len(files.to_pandas()) == n_files
        counts(address, reset=True)
        began_s = time.perf_counter()
        assert len(files.download(f"{name}/files", route="files", progress=False)) == n_files
        took_s = time.perf_counter() - began_s
        told = counts(address)
    print(f"{n_files} files singly: {took_s:.1f} s, {n_files / took_s:.1f} a second; {told}")


def child(*words: object) -> list[str]:
    return [sys.executable, __file__, *map(str, words)]


def compare(kinds: Sequence[str], words: Sequence[str], folder: Path, n_runs: int) -> None:
    """Print one line for each kind of run."""
    figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(n_runs):
        for kind in kinds:
            dest = folder / "dest"
            dest.mkdir()
            done = subprocess.run(child(*words, kind, dest), stdout=subprocess.PIPE, check=True, cwd=ROOT)
            figures[kind].append(tuple(json.loads(done.stdout)))
            shutil.rmtree(dest)
    medians = {
        kind: [statistics.median(column) for column in zip(*rows, strict=True)]
        for kind, rows in figures.items()
    }
    (_, idle_kb), (plain_s, _) = medians["nothing"], medians["plain"]
    for kind in kinds[1:]:
        seconds, peak_kb = medians[kind]
        print(
            f"  {kind:10} {seconds:7.2f} s  {seconds / plain_s:5.2f}  {(peak_kb - idle_kb) / 1024:6.1f} MiB"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    match sys.argv[1:]:
        case ["serve", folder]:
            serve(Path(folder))
        case ["run", port, name, kind, dest]:
            run(kind, int(port), name, Path(dest))
        case ["deploy", folder]:
            deploy(Path(folder))
        case ["download", api_base, kind, dest]:
            run_download(kind, api_base, Path(dest))
        case _:
            main()
