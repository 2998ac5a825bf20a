"""A study on a real dask scheduler with two workers on this machine, one of which dies half-way."""
import os, re, signal, subprocess, sys, time

import pandas as pd
import pytest
from bioplaus.core import RunFailed
from bioplaus.design import PROVENANCE, Study
from bioplaus.study import run_study

pytest.importorskip("distributed")
STUDY = Study(rules=("backprop", "fa", "softhebb", "hebb-clamp"), tasks=("digits",), classes=(3, 10), seeds=3,
              epochs=25, hidden=(30,), perturbations=("gaussian:0.3",))
SPREAD = """from bioplaus.design import Study
from bioplaus.study import run_study
run_study({study!r}, {folder!r}, scheduler={address!r}, device='cpu', progress=False)"""


class Cluster:
    "A scheduler on a free port of this machine, and its workers."
    def __init__(self, folder):
        self.folder, self.parts = folder, []
        scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        for line in scheduler.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line): break
        self.address = found[1]

    def start(self, what, *args):
        p = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{what}", *args], stderr=subprocess.PIPE,
                             text=True, cwd=self.folder, start_new_session=True)
        self.parts.append(p)
        return p

    def work(self):
        return self.start("worker", self.address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")

    def kill(self, part):
        os.killpg(part.pid, signal.SIGKILL)
        part.wait()


@pytest.fixture
def cluster(tmp_path):
    c = Cluster(tmp_path)
    yield c
    for part in c.parts:
        if part.poll() is None: c.kill(part)


def test_one_of_two_workers_is_killed_half_way(cluster, tmp_path):
    from distributed import Client
    first, _ = cluster.work(), cluster.work()
    with Client(cluster.address) as client: client.wait_for_workers(2, timeout=60)
    code = SPREAD.format(study=STUDY, folder=str(tmp_path / "spread"), address=cluster.address)
    study = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "spread" / "cells").glob("*/results.csv"))) < 2:
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.02)
    cluster.kill(first)
    _, err = study.communicate(timeout=300)
    assert study.returncode == 0, err
    alone = run_study(STUDY, tmp_path / "alone", device="cpu", progress=False)
    both = [pd.read_csv(tmp_path / d / "results.csv").drop(columns=PROVENANCE) for d in ("spread", "alone")]
    pd.testing.assert_frame_equal(*both)
    assert len(alone.results) == 8 * 3 * 2


def test_a_scheduler_without_workers_is_said(cluster):
    with pytest.raises(RunFailed, match="has no workers.*dask worker"):
        run_study(STUDY, scheduler=cluster.address, device="cpu", progress=False)


def test_a_scheduler_that_is_not_there_is_said():
    with pytest.raises(RunFailed, match="no dask scheduler at tcp://127.0.0.1:9"):
        run_study(STUDY, scheduler="tcp://127.0.0.1:9", device="cpu", progress=False)
