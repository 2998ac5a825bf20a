"""What the command line, a study and its workers say of networks that can't learn: why, and what to try."""
import json, sys

import pytest
from bioplaus.cli import main
from bioplaus.study import load_study

DEEP = ("--task", "digits", "--sizes", "64,50,50,50,50,10", "--seeds", "2")


@pytest.fixture
def bioplaus(monkeypatch, capfd):
    "A command: (exit code, standard output, standard error). It runs in this process, which has imported everything."
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"): monkeypatch.delenv(name, raising=False)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["bioplaus", *map(str, args)])
        capfd.readouterr()
        code = 0
        try: main()
        except SystemExit as e: code = e.code or 0
        return code, *capfd.readouterr()
    return run


@pytest.mark.parametrize("rule", ["backprop", "fa", "dfc-ssa"])
def test_five_sigmoid_layers(rule, bioplaus):
    code, out, said = bioplaus("train", rule, *DEEP, "--epochs", "1", "--json")
    trouble = json.loads(out.splitlines()[-1])["trouble"]
    assert code == 0 and [t["kind"] for t in trouble] == ["faded"] and trouble[0]["seeds"] == [0, 1]
    assert "can't be told from guessing" in said
    assert all(advice in said for advice in ("act=tanh", "init=xavier", "fewer hidden layers"))


def test_tanh_is_good_advice(bioplaus):
    "Three epochs, for a network of 50 units: far above chance, and nothing is said of it."
    code, out, said = bioplaus("train", "backprop", *DEEP, "--act", "tanh", "--epochs", "3", "--json")
    record = json.loads(out.splitlines()[-1])
    assert code == 0 and record["trouble"] == [] and min(record["test_accuracy"]) > 0.5 and "guessing" not in said


def test_chance_that_is_expected_is_a_note(bioplaus):
    code, out, said = bioplaus("train", "hebb", "--task", "digits", "--epochs", "1")
    assert code == 0 and "guessing" not in said
    assert "note: the network can't be told from guessing" in out and "as expected" in out


@pytest.mark.parametrize("args", [["covariance-clamp"], ["covariance-control"],
                                  ["hebb-clamp", "--set", "centre=samples"], ["shuffled"], ["dfc-shuffled"]])
def test_batches_of_one_are_refused(args, bioplaus):
    code, out, said = bioplaus("train", *args, "--task", "digits", "--batch-size", "1")
    assert code == 2 and not out and said.startswith("error: ") and "at least 2" in said and "--batch-size" in said


def test_a_study_refuses_them_before_anything_is_written(tmp_path, bioplaus):
    code, _, said = bioplaus("study", "--rules", "backprop,covariance-clamp", "--tasks", "digits", "--batch-size", "1",
                             "--out", tmp_path / "s")
    assert code == 2 and "covariance-clamp" in said and "at least 2" in said and not (tmp_path / "s").exists()


def test_two_workers_tell(tmp_path, bioplaus):
    "The sentence comes once for each cell, and is kept: in a table, in the log, in the report."
    study = ("study", "--rules", "backprop,shuffled,frozen", "--tasks", "digits", "--classes", "10",
             "--hidden", "20,20,20,20", "--epochs", "1", "--seeds", "2", "--perturb", "gaussian:0.3",
             "--workers", "2", "--out", tmp_path)
    code, out, said = bioplaus(*study, "--json")
    line = "TROUBLE: backprop on digits, 10 classes, network 20-20-20-20: both networks can't be told from guessing"
    assert code == 0 and said.count(line) == 1 and "act=tanh" in said
    shown, _ = out.rsplit("\n{", 1)  # of a rule that guesses, the answer says why and what to try
    assert shown.count("backprop guesses (") == shown.count("shuffled guesses (") == 1 and "act=tanh" in shown
    assert "TROUBLE" not in shown and "That is as expected of this control." in " ".join(shown.split())
    assert "shuffled" not in said.replace("shuffled:", "")  # but for the name of a bar
    found = load_study(tmp_path).trouble
    told = [t["kind"] for t in json.loads(out.splitlines()[-1])["trouble"]]
    assert told == found.kind.tolist() and set(found.rule) == {"backprop", "shuffled", "frozen"}
    assert found.seeds[0] == "0 1" and line in (tmp_path / "logs" / "study.log").read_text()
    assert "What has not learnt" in (tmp_path / "report.html").read_text()
    assert bioplaus("report", tmp_path)[1].count("backprop guesses (") == 1
