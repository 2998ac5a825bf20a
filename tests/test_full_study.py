"""The stored tables of the full study can be made again: two of its cells, drawn by lot, with two of their ten seeds.
It needs the full data sets."""
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bioplaus.data import data_folder
from bioplaus.study import run_study

TOOLS = Path(__file__).parent.parent / "tools"
QUICK = ("backprop", "dfa", "fa", "backprop-decay", "backprop-smooth", "softhebb", "frozen")  # under a minute each


THERE = all((data_folder() / n / "raw").exists() for n in ("MNIST", "FashionMNIST"))


@pytest.mark.skipif(not THERE, reason="no full data sets in the data folder")
def test_two_cells_give_the_stored_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import the_hypothesis as full
    stored, rates = full.table("results"), full.best_rates(full.table("tuning"))
    clean = stored[(stored.perturbation == "clean") & stored.rule.isin(QUICK)]
    for rule, task, classes in random.sample(list(clean.groupby(["rule", "task", "classes"]).groups), 2):
        print(f"{rule} on {task}, {classes} classes")
        study = replace(full.STUDY, rules=(rule,), tasks=(task,), classes=(classes,), lr={rule: rates[rule]}, seeds=2,
                        perturbations=("gaussian:0.3",), mediators=())
        again = run_study(study, progress=False).results
        found, noisy = (again[again.perturbation == p].accuracy.to_numpy() for p in ("clean", "gaussian"))
        was = stored[(stored.rule == rule) & (stored.task == task) & (stored.classes == classes)]
        was_noisy = was[(was.perturbation == "gaussian") & (was.level == 0.3)]
        for now, then in ((found, was[was.perturbation == "clean"]), (noisy, was_noisy)):
            spread = 3 * then.accuracy.std() * np.sqrt(1 / 2 + 1 / len(then)) + 1e-4  # 99.7% of means of two seeds
            assert abs(now.mean() - then.accuracy.mean()) < spread, (rule, task, classes, now, then.accuracy.describe())
