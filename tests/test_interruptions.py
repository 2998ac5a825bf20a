"""What may happen to a long run: it is killed, the disk is full, the data are damaged, there is no network."""
import json, os, signal, subprocess, sys, time

import pandas as pd
import pytest
from bioplaus.data import data_folder
from bioplaus.design import PROVENANCE

STUDY = ["study", "--tasks", "digits", "--classes", "10", "--rules", "backprop,hebb-clamp", "--seeds", "3",
         "--epochs", "30", "--perturb", "gaussian:0.3"]
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def bioplaus(*args, **env):
    command, env = [sys.executable, "-m", "bioplaus.cli", *map(str, args)], {k: str(v) for k, v in env.items()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | env)


def finished(*args, code=0, **env):
    p = bioplaus(*args, **env)
    out, err = p.communicate(timeout=300)
    assert p.returncode == code, err
    return out, err


def test_a_killed_study_run_again_gives_the_same_numbers(tmp_path):
    first = bioplaus(*STUDY, "--out", tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "cells" / "digits_10_backprop" / "history.csv"
    while not (checkpoint.exists() and len(checkpoint.read_text().splitlines()) > 10): time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "killed" / "report.html").exists()
    finished(*STUDY, "--out", tmp_path / "killed")
    finished(*STUDY, "--out", tmp_path / "straight")
    same_numbers(tmp_path / "killed", tmp_path / "straight")


def same_numbers(*folders):
    "Two studies found the same, whenever and wherever they were made."
    a, b = (pd.read_csv(d / "results.csv").drop(columns=PROVENANCE) for d in folders)
    pd.testing.assert_frame_equal(a, b)


def test_two_processes_share_a_folder(tmp_path):
    both = [bioplaus(*STUDY, "--out", tmp_path / "shared") for _ in range(2)]
    for p in both:
        _, err = p.communicate(timeout=300)
        assert p.returncode == 0, err
    finished(*STUDY, "--out", tmp_path / "alone")
    same_numbers(tmp_path / "shared", tmp_path / "alone")
    assert not list((tmp_path / "shared").rglob(".*part"))


def test_a_killed_worker_is_said_and_the_rest_is_kept(tmp_path):
    study = [*STUDY, "--workers", "2", "--out", tmp_path / "study"]
    first = bioplaus(*study)
    checkpoints = [tmp_path / "study" / "cells" / f"digits_10_{r}" / "history.csv" for r in ("backprop", "hebb-clamp")]
    while not all(c.exists() for c in checkpoints): time.sleep(0.01)
    children = ["pgrep", "-P", str(first.pid), "-f", "loky"]
    workers = subprocess.run(children, capture_output=True, text=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 1 and "worker process was killed" in err, err
    finished(*study)
    finished(*STUDY, "--out", tmp_path / "straight")
    same_numbers(tmp_path / "study", tmp_path / "straight")


def test_a_full_disk_is_said_and_harms_nothing(tmp_path):
    "A limit on file size stands in for a full disk: writing fails in the middle of a file."
    train = ["train", "backprop", "--task", "digits", "--epochs", "2", "--out", str(tmp_path / "run")]
    finished(*train)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
               f"sys.argv = ['bioplaus', *{train!r}, '--epochs', '4']; from bioplaus.cli import main; main()")
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr and "checkpoint.safetensors" in done.stderr, done.stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*part"))
    finished(*train[:-2], "--epochs", "4", *train[-2:])


def test_absent_and_offline(tmp_path):
    nowhere = "http://127.0.0.1:9"
    _, err = finished("data", "mnist", code=1, BIOPLAUS_DATA=tmp_path, http_proxy=nowhere, https_proxy=nowhere)
    for word in (str(tmp_path), "BIOPLAUS_DATA", "mnist-mini"): assert word in err
    assert "Traceback" not in err


def test_truncated_data_are_named(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in PARTS: (raw / part).write_bytes(b"\0" * 100)
    _, err = finished("data", "fashion-mnist", code=1, BIOPLAUS_DATA=tmp_path)
    assert str(raw / PARTS[0]) in err and "Delete it" in err


@pytest.mark.skipif(not (data_folder() / "FashionMNIST" / "raw").exists(), reason="no Fashion-MNIST in the data folder")
def test_full_fashion_mnist():
    out, _ = finished("data", "fashion-mnist", "--json")
    counts = json.loads(out.splitlines()[-1])["per_class"]
    assert all(abs(n - 5400) <= 2 for n in counts["train"])
    assert sum(counts["train"] + counts["valid"]) == 60_000 and counts["test"] == [1000] * 10


def test_no_cuda():
    import torch
    if torch.cuda.is_available(): pytest.skip("there is CUDA here")
    _, err = finished("train", "backprop", "--device", "cuda", code=2)
    assert "'cuda' is not available" in err and "auto" in err


TWIN = '''from bioplaus.rule import Backprop, Delta, Rule, register

@register("twin", equation="as backprop", sees="pre, post, transported weights", lr=0.2)
def twin(net):
    "Backprop by another name."
    return Rule(net, Backprop(), Delta())
'''


def test_rules_of_an_installed_package(tmp_path):
    "A package names its module in the entry-point group, and its rules are there."
    (tmp_path / "mine.py").write_text(TWIN)
    info = tmp_path / "mine-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[bioplaus.rules]\nmine = mine\n")
    assert "Backprop by another name." in finished("rules", PYTHONPATH=tmp_path)[0]

    def accuracy(rule):
        out, _ = finished("train", rule, "--task", "digits", "--lr", "0.2", "--json", PYTHONPATH=tmp_path)
        return json.loads(out.splitlines()[-1])["test_accuracy"]
    assert accuracy("twin") == accuracy("backprop")
