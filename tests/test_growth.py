"""A study that grows: what is there stays to the last bit, what is new is what a study of all would have given."""
import json, os, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest, torch
from bioplaus.core import RULES, BadInput, claimed, register
from bioplaus.data import Task, load_task
from bioplaus.design import PROVENANCE, Cell, Study
from bioplaus.records import storing, verify
from bioplaus.shown import Perturbation
from bioplaus.study import compare, load_study, networks_of, plan_study, run_study
from bioplaus.training import OtherSettings, fit

SMALL = Study(rules=("backprop", "dfc-ssa"), tasks=("digits:few=20",), classes=(3,), seeds=3, epochs=2, hidden=(8,),
              perturbations=("gaussian:0.3",))
LARGE = replace(SMALL, seeds=5, perturbations=("gaussian:0.3", "weight-noise:0.3", "pgd:0.1", "blur@4"),
                mediators=("weight-norm", "margin-l2"), images=50)
SMALL = replace(SMALL, images=50)
TABLES = ("results", "history", "checks", "trouble")


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    "Waiting for the disk is what takes most of the time."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def studied(folder, study=SMALL, **how): return run_study(study, folder, device="cpu", progress=False, **how)


def same(a, b, checks=True, **how):
    "Two studies found the same, but for what was measured of the machine."
    pd.testing.assert_frame_equal(*(o.results.drop(columns=PROVENANCE) for o in (a, b)), **how)
    pd.testing.assert_frame_equal(*(o.history.drop(columns="seconds") for o in (a, b)), **how)
    # a limit depends on how many networks were looked at together
    if checks: pd.testing.assert_frame_equal(*(o.checks.drop(columns="limit", errors="ignore") for o in (a, b)), **how)


def contents(folder): return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def whole(folder): return verify(folder).state.eq("whole").all()


def without_time(folder):
    "The tables of the cells, without what was measured of the machine; and the networks."
    found = {}
    for f in sorted(folder.glob("cells/*/*")):
        name = f.relative_to(folder)
        if f.name in ("results.csv", "history.csv"):
            found[name] = pd.read_csv(f).drop(columns=[*PROVENANCE, "seconds"], errors="ignore").to_csv()
        elif f.name == "checks.csv": found[name] = f.read_bytes()
    return found


def test_what_is_there_is_found_again_of_every_rule(tmp_path):
    "Also of one that brings a network of its own, such as `linear`; nothing is trained twice."
    study = Study(rules=tuple(RULES), tasks=("digits:few=20",), classes=(3,), seeds=2, epochs=1, hidden=(8,),
                  perturbations=("gaussian:0.3",))
    studied(tmp_path, study)
    folders = {f.name for f in (tmp_path / "cells").iterdir()}
    larger = replace(study, perturbations=("gaussian:0.3", "blur@4"))
    assert set(plan_study(study, tmp_path).parts()) == {"kept"}
    assert set(plan_study(larger, tmp_path).parts()) == {"kept", "to measure"}
    studied(tmp_path, study)
    assert {f.name for f in (tmp_path / "cells").iterdir()} == folders and whole(tmp_path)


def test_three_seeds_and_two_are_five(tmp_path):
    studied(tmp_path)
    before, rows = contents(tmp_path), {f: f.read_text() for f in tmp_path.glob("cells/*/results.csv")}
    grown = studied(tmp_path, LARGE)
    same(grown, studied(None, LARGE), rtol=1e-5, atol=1e-6)
    after = contents(tmp_path)
    kept = [n for n in before if n.suffix == ".safetensors" or n.name == "history.csv" and "cells" in n.parts]
    assert len(kept) == 8 and all(after[n] == before[n] for n in kept)
    for f, text in rows.items():  # each row is there to the last bit, with mediators behind it
        new = f.read_text().splitlines()
        assert all(n.startswith(old) for n, old in zip(new, text.splitlines()))
    assert whole(tmp_path)
    again = studied(tmp_path, LARGE)
    pd.testing.assert_frame_equal(again.results, grown.results)
    now = contents(tmp_path)  # but for the log, nothing is written again
    assert [n.name for n in now if now[n] != after.get(n)] == ["study.log"]


def test_what_is_asked_for_less_is_kept(tmp_path, capsys):
    large = studied(tmp_path, LARGE)
    before = {n: c for n, c in contents(tmp_path).items() if "cells" in n.parts or "models" in n.parts}
    capsys.readouterr()
    view = studied(tmp_path, replace(SMALL, rules=("dfc-ssa",), seeds=(1, 4), mediators=("margin-l2",)))
    said = capsys.readouterr().err
    assert "not shown: seeds 0, 2-3; blur:" in said and "weight-norm; 1 other cell (digits-few=20_3_backprop)" in said
    wanted = large.results[(large.results.rule == "dfc-ssa") & large.results.seed.isin([1, 4])
                           & large.results.perturbation.isin(["clean", "gaussian"])].drop(columns="weight-norm")
    pd.testing.assert_frame_equal(view.results, wanted.reset_index(drop=True))
    pd.testing.assert_frame_equal(load_study(tmp_path).results, view.results)
    now = contents(tmp_path)
    assert all(now[n] == c for n, c in before.items()) and whole(tmp_path)
    same(studied(tmp_path, LARGE), large)


@pytest.mark.parametrize("change", [dict(epochs=3), dict(hidden=(9,)), dict(images=40), dict(seed=1), dict(act="tanh"),
                                    dict(lr=0.2), dict(batch_size=16), dict(watch=("gaussian:0.3",)),
                                    dict(normalise="unit"), dict(optimizer="adam")])
def test_what_decides_numbers_is_refused_and_nothing_is_written(tmp_path, change):
    studied(tmp_path, replace(SMALL, rules=("backprop",), perturbations=()))
    before = contents(tmp_path)
    for call in (studied, lambda folder, study: plan_study(study, folder)):
        with pytest.raises(OtherSettings, match=f"{next(iter(change))}: .* there, .* here.*another folder"):
            call(tmp_path, replace(LARGE, **change))
    assert contents(tmp_path) == before


def test_networks_are_added_beside_the_first(tmp_path):
    one = replace(SMALL, rules=("backprop",))
    studied(tmp_path, one)
    before = contents(tmp_path / "cells")
    two = studied(tmp_path, replace(one, hidden=((8,), (6, 5)), seeds=4))
    same(two, studied(None, replace(one, hidden=((8,), (6, 5)), seeds=4)), rtol=1e-5, atol=1e-6)
    after = contents(tmp_path / "cells")
    assert all(after[n] == c for n, c in before.items())
    assert {n.parts[0] for n in after} == {"digits-few=20_3_backprop", "digits-few=20_3_backprop+seeds3",
                                           "digits-few=20_3_6-5_backprop"}
    other = studied(tmp_path, replace(one, hidden=(6, 5)))  # only the new one: a view
    assert set(other.results.hidden) == {"6-5"} and contents(tmp_path / "cells") == after and whole(tmp_path)


def test_the_plan_says_what_would_be_done_and_does_nothing(tmp_path):
    fresh = plan_study(SMALL, tmp_path / "none")
    assert fresh.parts() == {"to train": "6 networks in 2 cells (seeds 0-2)"} and not (tmp_path / "none").exists()
    studied(tmp_path / "s")
    before = contents(tmp_path / "s")
    plan = plan_study(replace(LARGE, rules=("backprop", "fa")), tmp_path / "s")
    assert plan.parts() == {
        "kept": "3 networks in 1 cell", "to train": "7 networks in 2 cells (seeds 0-4)",
        "to measure": "weight-noise:0.3, pgd:0.1, blur:0.08, weight-norm, margin-l2, checks of attacks at ε = 0.1 on "
                      "3 networks in 1 cell"}
    assert plan.aside == ["1 other cell (digits-few=20_3_dfc-ssa)"] and contents(tmp_path / "s") == before
    assert not plan_study(SMALL, tmp_path / "s").news


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.weekly)])
def test_a_growth_that_was_interrupted_goes_on(tmp_path, monkeypatch, workers):
    "Wherever it was: in training, between two tables of a measurement, before the study's own tables."
    import bioplaus.design as design, bioplaus.study as study, bioplaus.training as training
    studied(tmp_path / "straight")
    right = studied(tmp_path / "straight", LARGE)
    studied(tmp_path / "cut")
    first = load_study(tmp_path / "cut")

    def interrupted(where, name, call):
        real, seen = getattr(where, name), []
        def once(*given, **named):
            seen.append(1)
            if len(seen) == call: raise KeyboardInterrupt
            return real(*given, **named)
        with monkeypatch.context() as m:
            m.setattr(where, name, once)
            with pytest.raises(KeyboardInterrupt): studied(tmp_path / "cut", LARGE)
        same(load_study(tmp_path / "cut"), first, check_dtype=False)  # it shows what it showed before
        assert load_study(tmp_path / "cut").study == SMALL and whole(tmp_path / "cut")

    interrupted(design, "storing", 2)   # after checks.csv and before results.csv of the first cell
    interrupted(design, "storing", 3)   # after results.csv, before cell.json
    interrupted(design, "measure", 2)
    interrupted(training, "_save", 2)  # in the training of a new stack
    interrupted(study, "_write_outcome", 1)
    same(studied(tmp_path / "cut", LARGE, workers=workers), right)
    assert without_time(tmp_path / "cut") == without_time(tmp_path / "straight") and whole(tmp_path / "cut")


def test_workers_grow_a_study_alike(tmp_path):
    studied(tmp_path)
    same(studied(tmp_path, LARGE, workers=2), studied(None, LARGE), rtol=1e-5, atol=1e-6)
    assert whole(tmp_path)


def test_a_damaged_network_is_trained_again_before_it_is_measured(tmp_path, capsys):
    "Damage is no absence: it is said, and its seeds stay those that were there."
    studied(tmp_path)
    right = studied(tmp_path, replace(LARGE, seeds=3))
    for name, losses in (("digits-few=20_3_backprop", ("checkpoint.safetensors",)),
                         ("digits-few=20_3_dfc-ssa", ("checkpoint.safetensors", "cell.json"))):
        folder = tmp_path / "cells" / name
        for lost in losses: (folder / lost).write_bytes((folder / lost).read_bytes()[:-9])
        capsys.readouterr()
        same(studied(tmp_path, replace(LARGE, seeds=3)), right, rtol=1e-5, atol=1e-6)
        assert f"{folder / 'checkpoint.safetensors'} " in capsys.readouterr().err and whole(tmp_path)
    five = studied(tmp_path, LARGE)
    extra = tmp_path / "cells" / "digits-few=20_3_backprop+seeds3-4"
    for file in extra.glob("*.*"): file.write_bytes(file.read_bytes()[:-9])
    same(studied(tmp_path, LARGE), five)
    assert whole(tmp_path) and len(list((tmp_path / "cells").iterdir())) == 4


def test_lists_of_seeds(tmp_path):
    holes, digits = replace(SMALL, rules=("backprop",), seeds=(0, 1, 5)), load_task("digits:few=20", 3, device="cpu")
    found = studied(tmp_path, holes)
    assert set(found.results.seed) == {0, 1, 5}
    more = studied(tmp_path, replace(holes, seeds=6))
    same(more, studied(None, replace(holes, seeds=6)), rtol=1e-5, atol=1e-6)
    assert sorted(f.name for f in (tmp_path / "cells").iterdir()) == [
        "digits-few=20_3_backprop", "digits-few=20_3_backprop+seeds2-4"]
    for seeds, why in (((0, 1, 1), "seed 1 is given twice"), ((0, -1), "-1"), ((), "needs seeds"), ((0, 1.5), "1.5"),
                       ("0", "whole number"), (0, "seeds")):
        with pytest.raises(BadInput, match=why): studied(tmp_path, replace(holes, seeds=seeds))
    run = networks_of(tmp_path, replace(holes, seeds=(5, 3, 0)), Cell("backprop", "digits:few=20", 3))
    assert run.rule.net.seeds == [0, 3, 5] and run.history.replica.nunique() == 3
    alone = [fit(replace(holes, seeds=(seed,)).rule_on("backprop", 64, 3)[0], digits, 2, progress=False, warn=False)
             for seed in (0, 3, 5)]
    weights = torch.cat([one.rule.net.weights[0] for one in alone])
    torch.testing.assert_close(run.rule.net.weights[0], weights, rtol=1e-4, atol=1e-5)


def test_part_of_a_growth_fails(tmp_path):
    "A rule that fails with new seeds keeps the old ones; comparisons take what both have, and the failure is said."
    from bioplaus.rule import make_rule
    from bioplaus.tables import statistics, text_report

    @register("no-fourth", equation="?", sees="pre", paper="this test")
    def no_fourth(net):
        "Fails for seed 3."
        if 3 in net.seeds and net.sizes[0] == 64: raise ZeroDivisionError("three is too many")
        return make_rule("backprop", net)

    study = replace(SMALL, rules=("backprop", "no-fourth"))
    studied(tmp_path, study)
    grown = studied(tmp_path, replace(study, seeds=5))
    assert grown.results.groupby("rule").seed.nunique().to_dict() == {"backprop": 5, "no-fourth": 3}
    error, = grown.failures.error
    assert error.startswith("seeds 3-4: ") and "three is too many" in error and "FAILED" in text_report(grown)
    assert set(statistics(grown.results).n) == {3}


def test_one_thing_of_ones_own_after_another(tmp_path):
    "A task, a rule and a perturbation of one's own, on the command's twin in Python."
    digits = load_task("digits:few=20", 3, device="cpu")
    mine = Task.from_tensors(digits.x_train, digits.y_train, digits.x_test, digits.y_test, name="mine")

    class Lighter(Perturbation, name="lighter", kind="corruption", unit="added", levels=(0.1, 0.2, 0.3, 0.4, 0.5)):
        def __call__(self, rule, x, y, stream): return (x + self.level).clamp(0, 1)

    how = dict(epochs=2, hidden=(8,), out=tmp_path, device="cpu", progress=False)
    compare("backprop", mine, 2, perturbations="gaussian:0.3", **how)
    before = {n: c for n, c in contents(tmp_path).items() if n.suffix == ".safetensors"}
    grown = compare(["backprop", "fa"], mine, range(3), perturbations=["gaussian:0.3", "lighter:0.2"], **how)
    fresh = compare(["backprop", "fa"], mine, 3, perturbations=["gaussian:0.3", "lighter:0.2"], **how | {"out": None})
    pd.testing.assert_frame_equal(*(t.drop(columns=PROVENANCE) for t in (grown, fresh)), rtol=1e-5, atol=1e-6)
    assert all(contents(tmp_path)[n] == c for n, c in before.items()) and whole(tmp_path)


def test_other_versions(tmp_path, capsys):
    "Of torch: it is said, and what is stored stays. Of Python: code that it compiled can't be compared."
    studied(tmp_path)
    files = tmp_path / "study.json", *tmp_path.glob("cells/*/cell.json")
    for file in files:
        text = file.read_text()
        text = text.replace(f'"torch": "{torch.__version__.split("+")[0]}"', '"torch": "1.0"')
        here = ".".join(map(str, sys.version_info[:2]))
        text = text.replace(f'"{here} ', '"3.1 0')  # of perturbations
        with storing(file) as tmp: tmp.write_text(text)
    before = {n: c for n, c in contents(tmp_path).items() if n.suffix == ".safetensors" or "results.csv" == n.name}
    capsys.readouterr()
    studied(tmp_path, LARGE)
    said, after = capsys.readouterr().err, contents(tmp_path)
    assert "torch: '1.0' there" in said and "measured again" not in said
    assert all(after[n].split(b"\n", 1)[1][:99] == c.split(b"\n", 1)[1][:99] if n.suffix == ".csv" else after[n] == c
               for n, c in before.items() if "cells" in n.parts)


def test_two_growths_at_once(tmp_path):
    "Another one is refused; the same one shares the work."
    studied(tmp_path)
    with claimed(tmp_path / "cells" / "digits-few=20_3_backprop"):
        code = ("from tests.test_growth import *; import sys\n"
                f"run_study({LARGE!r}, {str(tmp_path)!r}, device='cpu', progress=False)")
        run = lambda: subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True,
                                       cwd=Path(__file__).parents[1])
        both = [run(), run()]
        until = time.monotonic() + 120
        while len(list((tmp_path / ".at-work").glob("*/cells.txt"))) < 2:
            assert time.monotonic() < until and all(p.poll() is None for p in both)
            time.sleep(0.1)
        with pytest.raises(BadInput, match="in use by a study of other"): studied(tmp_path, replace(LARGE, seeds=4))
        with pytest.raises(BadInput, match="in use by a study of other"): studied(tmp_path, SMALL)
    for p in both: assert p.wait(300) == 0, p.stderr.read()
    same(load_study(tmp_path), studied(None, LARGE), rtol=1e-5, atol=1e-6, check_dtype=False)
    assert whole(tmp_path)


def test_a_growth_that_is_killed(tmp_path):
    code = ("from tests.test_growth import *\n"
            f"run_study({replace(LARGE, epochs=40)!r}, {str(tmp_path / 'killed')!r}, device='cpu', progress=False)")
    for folder in ("killed", "straight"): studied(tmp_path / folder, replace(SMALL, epochs=40))
    p = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    while not list((tmp_path / "killed").glob("cells/*+seeds3-4/checkpoint.safetensors")): time.sleep(0.02)
    p.send_signal(signal.SIGKILL)
    p.communicate()
    same(*(studied(tmp_path / folder, replace(LARGE, epochs=40)) for folder in ("killed", "straight")))
    assert without_time(tmp_path / "killed") == without_time(tmp_path / "straight") and whole(tmp_path / "killed")


def test_trouble_is_told_of_all_seeds_together(tmp_path):
    stuck = replace(SMALL, rules=("backprop",), hidden=(8, 8, 8, 8), perturbations=())
    studied(tmp_path, stuck)
    grown, fresh = (studied(d, replace(stuck, seeds=5)).trouble for d in (tmp_path, None))
    assert len(grown) and (grown[["kind", "seeds", "what"]] == fresh[["kind", "seeds", "what"]]).all(axis=None)
    assert grown.why.str.len().min() > 0 and "all 5 networks" in grown.what[0]


def test_on_the_command_line(tmp_path):
    def bioplaus(*args, code=0):
        given = {"tasks": "digits:few=20", "classes": 3, "rules": "backprop,dfc-ssa", "epochs": 2, "hidden": 8,
                 "images": 50, "out": tmp_path}
        command = [sys.executable, "-m", "bioplaus.cli", "study", *(f"--{k}={v}" for k, v in given.items()), *args]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr
    bioplaus("--seeds", "3", "--perturb", "gaussian:0.3", "--no-report")
    more = ("--seeds", "0,1,2,3,4", "--perturb", "gaussian:0.3", "--perturb", "pgd:0.1", "--mediators", "weight-norm")
    out, _ = bioplaus(*more, "--dry-run", "--json")
    assert json.loads(out.splitlines()[-1])["plan"] == {
        "kept": "6 networks in 2 cells", "to train": "4 networks in 2 cells (seeds 3-4)",
        "to measure": "pgd:0.1, weight-norm, checks of attacks at ε = 0.1 on 6 networks in 2 cells"}
    out, said = bioplaus(*more)
    assert out and "kept: 6 networks in 2 cells" in said and "5 seeds" in (tmp_path / "report.html").read_text()
    assert "(0, 1, 2, 3, 4)" not in out and whole(tmp_path)
    _, said = bioplaus("--seeds", "3", "--perturb", "gaussian:0.3", "--no-report")
    assert "not shown: seeds 3-4; pgd:0.1; weight-norm" in said and whole(tmp_path)
    assert "given twice" in bioplaus("--seeds", "0,1,1", code=2)[1]
    assert "--seeds must be a comma-separated list" in bioplaus("--seeds", "1,x", code=2)[1]
