"""Studies on a real dask scheduler with workers on this machine: who computes, what travels, what ends, who is refused.
tools/clusters.py has many more situations."""
import os, re, signal, socket, subprocess, sys, threading, time
from dataclasses import replace

import pandas as pd
import pytest
from bioplaus.core import BadInput, RunFailed
from bioplaus.design import PROVENANCE, Study
from bioplaus.study import run_study
from bioplaus.workers import Lost, NoWorkers, spread

pytest.importorskip("distributed")
STUDY = Study(rules=("backprop", "fa", "softhebb", "hebb-clamp"), tasks=("digits",), classes=(3, 10), seeds=3,
              epochs=25, hidden=(30,), perturbations=("gaussian:0.3",))
SMALL = replace(STUDY, rules=("backprop", "mine"), seeds=2, epochs=1)
SPREAD = """from bioplaus.design import Study
from bioplaus.study import run_study
run_study({study!r}, {folder!r}, scheduler={address!r}, device='cpu', progress=False)"""
MINE = """
import os
from bioplaus.rule import Backprop, Delta, Rule, register

@register("mine", lr=0.3)
def mine(net):
    {does}
    return Rule(net, Backprop(), Delta())
"""


class Cluster:
    "A scheduler on a free port of this machine, and its workers."
    def __init__(self, folder):
        self.folder, self.parts = folder, []
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        for line in self.scheduler.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line): break
        self.address = found[1]

    def start(self, what, *args):
        p = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{what}", *args], stderr=subprocess.PIPE,
                             text=True, cwd=self.folder, start_new_session=True)
        self.parts.append(p)
        return p

    def work(self, *args, threads=1):
        how = ("--nthreads", str(threads), "--no-dashboard", "--host", "127.0.0.1", *args)
        return self.start("worker", self.address, *how)

    def wait(self, workers):
        from distributed import Client
        with Client(self.address, set_as_default=False) as client: client.wait_for_workers(workers, timeout=60)

    def kill(self, part):
        os.killpg(part.pid, signal.SIGKILL)
        part.wait()


@pytest.fixture
def cluster(tmp_path):
    c = Cluster(tmp_path)
    yield c
    for part in c.parts:
        if part.poll() is None: c.kill(part)


def cells_done(folder, n, study):
    "Wait until so many cells of a study that is running are done."
    while len(list((folder / "cells").glob("*/results.csv"))) < n:
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.02)


@pytest.mark.weekly
def test_one_of_two_workers_is_killed_half_way(cluster, tmp_path):
    first, _ = cluster.work(), cluster.work()
    cluster.wait(2)
    code = SPREAD.format(study=STUDY, folder=str(tmp_path / "spread"), address=cluster.address)
    study = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    cells_done(tmp_path / "spread", 2, study)
    cluster.kill(first)
    _, err = study.communicate(timeout=300)
    assert study.returncode == 0, err
    alone = run_study(STUDY, tmp_path / "alone", device="cpu", progress=False)
    both = [pd.read_csv(tmp_path / d / "results.csv").drop(columns=PROVENANCE) for d in ("spread", "alone")]
    pd.testing.assert_frame_equal(*both)
    assert len(alone.results) == 8 * 3 * 2


def test_one_worker_its_deaths_and_its_scheduler(cluster, tmp_path, monkeypatch):
    """A worker of two threads computes what a session defines, in a module that it can't import, and the process that
    asked for it doesn't; a job that kills it has an end; a finished study needs neither worker nor scheduler."""
    (tmp_path / "my_rules.py").write_text(MINE.format(does="open(LOG, 'a').write(f'{os.getpid()}\\n')")
                                          + f"LOG = {str(tmp_path / 'log')!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("my_rules")
    (tmp_path / "my_rules.py").unlink()
    cluster.work(threads=2)
    cluster.wait(1)
    found = dict(spread([lambda: 1, lambda: os._exit(9), lambda: 3], scheduler=cluster.address))
    assert (found[0], found[2]) == (1, 3) and isinstance(found[1], Lost) and "died three times" in found[1].why
    cluster.wait(1)  # its nanny starts it again
    out = run_study(SMALL, tmp_path / "out", device="cpu", progress=False, scheduler=cluster.address)
    assert set(out.results.rule) == {"backprop", "mine"} and out.failures.empty
    pids = (tmp_path / "log").read_text().split()
    others = [p for p in pids if p != str(os.getpid())]
    assert len(set(others)) == 1 and len(others) >= 2
    cluster.kill(cluster.scheduler)
    again = run_study(SMALL, tmp_path / "out", device="cpu", progress=False, scheduler=cluster.address)
    pd.testing.assert_frame_equal(again.results, out.results)
    assert list(spread([], scheduler=cluster.address)) == []


def test_a_late_worker_of_another_version_computes_nothing(cluster, tmp_path, capsys):
    (tmp_path / "older.py").write_text("import bioplaus\nbioplaus.__version__ = '0.0.1'\n")
    cluster.work()
    cluster.wait(1)
    def late():
        cluster.work("--preload", str(tmp_path / "older.py"))
        cluster.wait(2)
        return time.sleep(3)
    def who():
        time.sleep(0.1)
        return os.getpid()
    results = spread([who] * 30, scheduler=cluster.address)
    first = next(results)[1]
    late()
    assert {pid for _, pid in results} == {first}
    assert "0.0.1" in capsys.readouterr().err


def test_the_scheduler_dies(cluster, tmp_path):
    "One line says what is kept and how to go on."
    cluster.work()
    cluster.wait(1)
    code = ("from bioplaus.core import RunFailed\nimport sys\ntry:\n    "
            + SPREAD.format(study=STUDY, folder=str(tmp_path / "out"), address=cluster.address).replace("\n", "\n    ")
            + "\nexcept RunFailed as e: sys.exit(f'error: {e}')")
    study = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    cells_done(tmp_path / "out", 1, study)
    cluster.kill(cluster.scheduler)
    _, err = study.communicate(timeout=60)
    said = [line for line in err.strip().splitlines() if "are busy; waiting" not in line]  # as on a slow machine
    assert study.returncode == 1 and "Traceback" not in err and len(said) == 1, err
    assert "is gone" in err and "cells are finished and kept in" in err and "the same call goes on" in err, err


def test_a_scheduler_without_workers_is_said(cluster):
    with pytest.raises(RunFailed, match="has no workers.*dask worker"):
        run_study(STUDY, scheduler=cluster.address, device="cpu", progress=False)


def test_a_scheduler_that_is_not_there_is_said():
    with pytest.raises(RunFailed, match="no dask scheduler at tcp://127.0.0.1:9"):
        run_study(STUDY, scheduler="tcp://127.0.0.1:9", device="cpu", progress=False)


def test_what_is_no_scheduler_is_said_within_seconds():
    "A port that says nothing, one that says something else, no certificates, no port, a scheme that dask doesn't know."
    jobs, start = [os.getpid] * 2, time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as rude:
        speak = lambda: rude.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        threading.Thread(target=speak, daemon=True).start()
        for port in (silent, rude):
            with pytest.raises(NoWorkers, match="there is no dask scheduler at .*something"):
                list(spread(jobs, scheduler=f"tcp://127.0.0.1:{port.getsockname()[1]}"))
    for address in ("tls://127.0.0.1:8786", "nonsense", "http://127.0.0.1:8787"):
        with pytest.raises(NoWorkers, match="there is no dask scheduler"): list(spread(jobs, scheduler=address))
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("address", ["", " ", 8786])
def test_no_address_is_not_none(address):
    with pytest.raises(BadInput, match="must be an address"):
        run_study(STUDY, scheduler=address, device="cpu", progress=False)


def test_processes_here_and_a_scheduler_are_one_too_many():
    with pytest.raises(BadInput, match="Give one of them"):
        run_study(STUDY, workers=2, scheduler="tcp://127.0.0.1:8786", device="cpu", progress=False)
