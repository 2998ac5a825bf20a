"""What a results folder proves: files that were changed, swapped, lost or made otherwise are noticed."""
import errno, json, os, re, textwrap
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest, torch
from safetensors import safe_open
from safetensors.torch import save
import bioplaus.training as training
from bioplaus.core import BadInput, RunFailed
from bioplaus.data import load_task
from bioplaus.design import PROVENANCE, Study
from bioplaus.network import MLP
from bioplaus.records import PROOF, CannotRead, Corrupt, Journal, checksum, state_of, storing, verify
from bioplaus.rule import make_rule
from bioplaus.study import is_fresh, load_study, run_study
from bioplaus.training import CHECKPOINT, fit, load_run

STUDY = Study(rules=("backprop", "fa"), tasks=("digits",), classes=(2,), seeds=2, epochs=2, hidden=(5,),
              perturbations=("gaussian:0.3",))
CELL = Path("cells") / "digits_2_backprop"


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    "Waiting for the disk is what takes most of the time."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def studied(folder, study=STUDY): return run_study(study, folder, device="cpu", progress=False)


def numbers(outcome): return outcome.results.drop(columns=PROVENANCE)


def told(capsys): return [x for x in capsys.readouterr().err.splitlines() if x and not x.startswith("TROUBLE")]


def unproven(folder):
    "As it was before there were checksums."
    for proof in folder.rglob("proof.sha256"): proof.unlink()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "pt") as f: head, tensors = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}
        config = json.loads(head["config"]) | {"code": 123}
        del config["versions"]
        head = {k: head[k] for k in ("epoch", "stopped", "history")} | {"config": json.dumps(config)}
        file.unlink()  # it has a twin in models/
        file.write_bytes(save(tensors, head))
    for about in folder.rglob("cell.json"): about.unlink()


def test_a_cell_of_another_rule_in_its_place_is_computed_again(tmp_path, capsys):
    right = studied(tmp_path)
    told(capsys)
    other = tmp_path / "cells" / "digits_2_fa"
    for file in other.glob("[!.]*"): (tmp_path / CELL / file.name).write_bytes(file.read_bytes())
    assert "misplaced" in set(verify(tmp_path).state)
    pd.testing.assert_frame_equal(numbers(studied(tmp_path)), numbers(right))
    assert any("another cell" in line and "digits_2_backprop" in line for line in told(capsys))
    assert verify(tmp_path).state.eq("whole").all()


def test_long_training_is_refused_and_not_thrown_away(tmp_path, monkeypatch):
    studied(tmp_path)
    monkeypatch.setattr("bioplaus.design.LONG", 0)
    before = (tmp_path / CELL / CHECKPOINT).read_bytes()
    (tmp_path / "cells" / "digits_2_fa" / CHECKPOINT).write_bytes(before)
    with pytest.raises(BadInput, match="rule: 'backprop' there"): studied(tmp_path)
    assert (tmp_path / "cells" / "digits_2_fa" / CHECKPOINT).read_bytes() == before


RULE = textwrap.dedent("""
    from functools import partial
    from bioplaus.core import register
    from bioplaus.rule import Backprop, Rule, mean_outer
    GAIN = 1.0
    def helper(drive, pre): return GAIN * mean_outer(drive, pre)
    def plasticity(drive, pre_taught, scale=1.0): return scale * helper(drive, pre_taught)
    def made(strength): return lambda drive, pre_taught: strength * helper(drive, pre_taught)
    @register("edited", lr=0.1)
    def edited(net): return Rule(net, Backprop(), [partial(plasticity, scale=1.0), made(2.0)])
""")


@pytest.mark.parametrize("old, new", [("GAIN = 1.0", "GAIN = 0.5"), ("GAIN * mean", "2 * GAIN * mean"),
                                      ("scale=1.0)]", "scale=0.5)]"), ("scale=1.0), made", "scale=0.5), made"),
                                      ("made(2.0)", "made(3.0)"), ("strength * helper", "strength + helper")])
def test_an_edited_rule_is_another_rule(old, new):
    "A helper, its constant, an option of a partial, what a closure holds. (The third edit is none.)"
    def code(text):
        exec(compile(text, "a cell", "exec"), {"__name__": "__main__"})
        return training.code_of(make_rule("edited", MLP((6, 5, 3))))
    edited = RULE.replace(old, new)
    assert (code(RULE) == code(edited)) == (RULE == edited) and code(RULE) == code("# a note\n" + RULE)


def test_an_edited_cell_of_a_notebook_is_computed_again(tmp_path, capsys):
    def run(text):
        exec(compile(text, "a cell", "exec"), {"__name__": "__main__"})
        return studied(tmp_path, replace(STUDY, rules=("edited",)))
    first, again = run(RULE), run(RULE)
    pd.testing.assert_frame_equal(again.results, first.results)
    assert not told(capsys)
    edited = run(RULE.replace("GAIN = 1.0", "GAIN = 0.1"))
    line, = told(capsys)
    assert "the code of edited has changed" in line and (edited.results.loss != first.results.loss).any()


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ENOMEM])
def test_what_cannot_be_read_is_not_deleted(tmp_path, monkeypatch, error):
    studied(tmp_path)
    file, real = tmp_path / CELL / CHECKPOINT, Path.read_bytes
    before = file.read_bytes()

    def broken(path):
        if path == file: raise OSError(error, os.strerror(error))
        return real(path)

    with monkeypatch.context() as m:
        m.setattr(Path, "read_bytes", broken)
        with pytest.raises(CannotRead, match=CHECKPOINT): load_run(file.parent)
        outcome = studied(tmp_path)
        assert CHECKPOINT in outcome.failures.error[0] and len(outcome.failures) == 1
        found = verify(tmp_path).set_index("file").state
        assert found[str(CELL / CHECKPOINT)] == "unreadable"
    assert file.read_bytes() == before and studied(tmp_path).failures.empty


def test_a_lock_is_not_deleted_with_the_cell_it_guards(tmp_path, capsys):
    studied(tmp_path)
    lock, file = tmp_path / CELL / ".lock", tmp_path / CELL / CHECKPOINT
    was = lock.stat().st_ino
    file.write_bytes(file.read_bytes()[:-1])
    studied(tmp_path)
    assert lock.stat().st_ino == was and len(told(capsys)) == 1


def test_a_lost_model_is_missed_and_comes_back(tmp_path):
    studied(tmp_path)
    lost = next((tmp_path / "models").iterdir())
    lost.unlink()
    assert verify(tmp_path).set_index("file").state[str(lost.relative_to(tmp_path))] == "missing"
    studied(tmp_path)
    assert lost.exists() and verify(tmp_path).state.eq("whole").all()


def test_a_network_of_another_run_in_its_place_is_named(tmp_path):
    study = replace(STUDY, optimizer="adam", lr=0.003)  # so that a checkpoint holds more than its networks
    studied(tmp_path, study)
    models = sorted(tmp_path.glob("cells/*/model.safetensors"))
    for other in (models[1], models[0].with_name(CHECKPOINT)):
        models[0].unlink()  # or the hard link in models/ would be changed, too
        models[0].write_bytes(other.read_bytes())
        assert verify(tmp_path).set_index("file").state[str(models[0].relative_to(tmp_path))] == "misplaced"
    studied(tmp_path, study)
    assert verify(tmp_path).state.eq("whole").all()


def test_a_changed_digit_of_the_version_is_no_other_version(tmp_path, capsys):
    studied(tmp_path)
    file = tmp_path / "study.json"
    told(capsys)
    file.write_text(re.sub(r'("version": "[\d.]*?)\d"', r'\g<1>97"', file.read_text()))
    studied(tmp_path)
    said = told(capsys)
    assert said and all("study.json ha" in line for line in said), said
    assert verify(tmp_path).state.eq("whole").all()


def test_a_lost_file_and_a_changed_proof_are_said_once(tmp_path, capsys):
    for name in "ab":
        with storing(tmp_path / name) as tmp: tmp.write_text(name)
    def again():
        with storing(tmp_path / "a") as tmp: tmp.write_text("a")
        return told(capsys)
    assert not again()
    (tmp_path / "b").unlink()
    line, = again()
    assert "b was missing" in line and not again()
    with open(tmp_path / PROOF, "a") as f: f.write("# mine\n")
    line, = again()
    assert PROOF in line and not again() and state_of(tmp_path / PROOF) == "whole"


def test_a_bit_of_the_optimisers_state_or_of_a_history_that_grows(tmp_path, monkeypatch):
    "Of a run that was interrupted: both decide how it would go on."
    task = load_task("digits:few=5", 2, device="cpu")
    def train(): return fit(make_rule("backprop", MLP((64, 5, 2))), task, 4, 0.01, optimizer="adam", out=tmp_path,
                            progress=False, warn=False)
    real, saved = training._save, []

    def once(*given):
        real(*given)
        saved.append(1)
        if len(saved) == 3: raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", once)
    with pytest.raises(KeyboardInterrupt): train()
    monkeypatch.setattr(training, "_save", real)
    for name in (CHECKPOINT, "history.csv"):
        good = (tmp_path / name).read_bytes()
        bad = bytearray(good)
        bad[-20] ^= 1
        (tmp_path / name).write_bytes(bad)
        assert verify(tmp_path).set_index("file").state[name] == "changed"
        with pytest.raises(Corrupt, match=name): train()
        (tmp_path / name).write_bytes(good)
    assert train().epoch == 4 and verify(tmp_path).state.eq("whole").all()


def test_an_epoch_costs_the_same_however_many_there_were(tmp_path, monkeypatch):
    "The checkpoint doesn't grow, and the history is appended to: it is written whole at the start and at the end."
    sizes, written, real = [], [], training._save

    def watched(run, optimizer):
        real(run, optimizer)
        sizes.append((run.path / CHECKPOINT).stat().st_size)

    whole = Journal.write
    monkeypatch.setattr(training, "_save", watched)
    monkeypatch.setattr(Journal, "write", lambda self, table: (written.append(1), whole(self, table))[1])
    task = load_task("digits:few=2", 2, device="cpu")
    run = fit(make_rule("backprop", MLP((64, 3, 2), replicas=3)), task, 60, out=tmp_path, progress=False, warn=False)
    assert max(sizes[:-1]) - min(sizes) < 100 and len(written) == 1
    pd.testing.assert_frame_equal(load_run(tmp_path).history, run.history, check_exact=True)


def test_a_small_file_that_names_a_huge_network(tmp_path):
    fit(make_rule("backprop", MLP((64, 5, 10))), load_task("digits", device="cpu"), 1, out=tmp_path, progress=False)
    file = tmp_path / CHECKPOINT
    with safe_open(file, "pt") as f: head, tensors = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}
    config = json.loads(head["config"])
    config["net"]["sizes"] = [64, 4_000_000, 10]
    head = {k: head[k] for k in ("epoch", "stopped", "history")} | {"config": json.dumps(config)}  # of an older version
    file.write_bytes(save(tensors, head))
    with pytest.raises(BadInput, match="4000000"): load_run(tmp_path)


def test_a_folder_that_is_older_than_checksums_is_said_and_kept(tmp_path, capsys):
    first = studied(tmp_path)
    unproven(tmp_path)
    told(capsys)
    assert set(verify(tmp_path).state) == {"unproven"}
    again = studied(tmp_path)
    assert (again.results.seconds == first.results.seconds).all() and "unproven" in " ".join(told(capsys))
    pd.testing.assert_frame_equal(numbers(again), numbers(first))


def test_other_versions_add_nothing_without_a_word(tmp_path, capsys, monkeypatch):
    studied(tmp_path)
    file = tmp_path / "study.json"
    saved = json.loads(file.read_text())
    with storing(file) as tmp: tmp.write_text(json.dumps(saved | {"versions": saved["versions"] | {"torch": "1.0"}}))
    told(capsys)
    studied(tmp_path, replace(STUDY, rules=("backprop", "fa", "linear")))
    assert any("torch: '1.0' there" in line for line in told(capsys))
    with storing(file) as tmp: tmp.write_text(json.dumps(saved | {"version": "0.0.1"}))
    for call in (studied, load_study):
        with pytest.raises(BadInput, match="bioplaus 0.0.1"): call(tmp_path)


def test_tables_that_were_changed_are_no_empty_tables(tmp_path, capsys):
    studied(tmp_path)
    for name in ("results", "history", "checks", "trouble", "failures"):
        file = tmp_path / f"{name}.csv"
        good = file.read_bytes()
        for bad in (good[:len(good) // 3], bytes(range(128, 256)), good + b"1", None):
            if bad == good: continue
            file.unlink()
            if bad is not None: file.write_bytes(bad)
            with pytest.raises(RunFailed if bad or name not in ("results", "history") else (RunFailed, BadInput),
                               match=f"{name}.csv"): load_study(tmp_path)
            file.write_bytes(good)
    (tmp_path / "history.csv").write_bytes(b"")
    told(capsys)
    studied(tmp_path)
    assert sum("history.csv" in line for line in told(capsys)) == 1 and verify(tmp_path).state.eq("whole").all()


def test_a_report_is_fresh_by_what_it_shows(tmp_path, monkeypatch):
    "Not by the clock: a rule more or fewer, a table that was changed, and a page from the future."
    import bioplaus.report as report
    monkeypatch.setattr(report, "_learnt", lambda *a: ({}, {}))  # slow, and not the matter here
    studied(tmp_path)
    assert not is_fresh(tmp_path)
    page = report.write_report(tmp_path)
    assert is_fresh(tmp_path)
    os.utime(page, (1, 1))
    assert is_fresh(tmp_path)
    os.utime(page, (4e9, 4e9))
    studied(tmp_path, replace(STUDY, rules=("backprop",)))
    assert not is_fresh(tmp_path)
    report.write_report(tmp_path)
    tables = sorted((tmp_path / "tables").glob("*.csv"))
    assert is_fresh(tmp_path) and not any("statistics" in t.name for t in tables)  # one rule is compared with none
    tables[0].write_bytes(tables[0].read_bytes() + b"1")
    assert not is_fresh(tmp_path) and str(tables[0].relative_to(tmp_path)) in set(
        verify(tmp_path).query("state == 'changed'").file)


def test_a_page_is_not_replaced_by_a_poorer_one(tmp_path, monkeypatch):
    import bioplaus.report as report
    studied(tmp_path)
    monkeypatch.setattr(report, "_learnt", lambda *a: ({"learnt": ("Learnt", "<p>Alike.</p>")}, {}))
    page = report.write_report(tmp_path)
    before = checksum(page.read_bytes())
    lost = {"learnt": ("Learnt", "<p>Not shown: a rule is unknown</p>")}
    monkeypatch.setattr(report, "_learnt", lambda *a: (lost, {}))
    with pytest.raises(RunFailed, match="stays as it is.*a rule is unknown"): report.write_report(tmp_path)
    assert checksum(page.read_bytes()) == before and is_fresh(tmp_path)


@pytest.mark.parametrize("names", [("gaussian:0.3", "gaussian@3"), ("gaussian:0.3", "gaussian:0.3"),
                                   ("gaussian:0.3", "gaussian:0.30")])
def test_one_condition_is_one_condition(names):
    with pytest.raises(BadInput, match="one condition"): replace(STUDY, perturbations=names).checked()
    with pytest.raises(BadInput, match="one condition"): replace(STUDY, perturbations=(), watch=names).checked()


def test_numbers_come_back_to_the_last_bit(tmp_path):
    right = studied(tmp_path)
    pd.testing.assert_frame_equal(studied(tmp_path).results, right.results, check_exact=True)
    pd.testing.assert_frame_equal(load_study(tmp_path).history, right.history, check_exact=True, check_dtype=False)
    assert torch.equal(*(load_run(tmp_path / f).rule.net.weights[0] for f in
                         (CELL, "models/digits_2_backprop.safetensors")))
