"What people, disks and packages hand over by mistake is refused in one line, or done right. More: tools/bad_input.py"
import contextlib, io, itertools, signal, sys, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from sklearn.datasets import load_digits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bioplaus import core, representations
from bioplaus.core import BadInput, RULES, file_name, progress_bar, register, tell
from bioplaus.data import Task, load_task
from bioplaus.design import Cell
from bioplaus.network import MLP
from bioplaus.report import write_report
from bioplaus.representations import rdm
from bioplaus.rule import Backprop, Delta, Rule, make_rule
from bioplaus.study import compare, load_study
from bioplaus.training import fit, load_run
from tools import bad_input as bad

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype("f4").reshape(-1, 8, 8)


@pytest.fixture(scope="module")
def digits(): return load_task("digits", device="cpu")


@pytest.mark.parametrize("part, every", {"files": 4, "data": 2, "commands": 12, "calls": 2, "plugins": 2}.items())
def test_a_part_of_all_that_is_bad(part, every, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = signal.signal(signal.SIGALRM, bad.ring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = itertools.islice(bad.PARTS[part](tmp_path, np.random.default_rng(0)), None, None, every)
        wrong = {name: why for name, case, *accept in cases if (why := bad.judged(case, *accept))}
    signal.signal(signal.SIGALRM, old)
    assert not wrong


@pytest.fixture
def odd_rules():
    "Rules whose names mean something to a program that reads tables, sets mathematics, or names files."
    names = ["null", "NA", "007", "nan", "$a$ of $b", "_own", "ü" * 240]
    for n in names: register(n, lr=0.3)(lambda net: Rule(net, Backprop(), Delta()))
    yield names
    for n in names: RULES.loaded.pop(n, None)


@pytest.mark.usefixtures("png_alone")
def test_a_name_is_a_name(odd_rules, tmp_path):
    "Also in tables that are read back, in figures and in names of files."
    task = Task.from_tensors(X[:300], Y[:300], X[300:400], Y[300:400], name="NA", device="cpu")
    settings = dict(seeds=2, epochs=1, hidden=(4,), perturbations=["gaussian:0.3"], out=tmp_path / "s", progress=False)
    with contextlib.redirect_stderr(io.StringIO()): found = compare(["backprop", *odd_rules], task, **settings,
                                                                    device="cpu")
    back = load_study(tmp_path / "s").results
    assert list(back.rule.unique()) == list(found.rule.unique()) == ["backprop", *odd_rules]
    assert set(back.task) == {"NA"} and back.accuracy.equals(found.accuracy)
    page = write_report(tmp_path / "s").read_text()
    assert all(f">{name}</th>" in page for name in odd_rules)


def test_names_of_files_are_bounded():
    "A hundred and a thousand classes, long names; different names stay different, and an old one stays as it is."
    keys = [Cell("hebb", "own", list(range(n))).key for n in (100, 101, 1000)] + [Cell("ü" * 240 + e, "own", 2).key
        for e in "ab"]
    assert len(set(keys)) == 5 and all(len(k.encode()) < 200 and "/" not in k for k in keys)
    assert Cell("hebb-clamp:strength=0.5", "mnist:few=10", 2).key == "mnist-few=10_2_hebb-clamp-strength=0.5"
    assert file_name("a/b") != "a/b" and file_name("...") and file_name("🙂")


@pytest.mark.usefixtures("png_alone")
def test_a_thousand_classes(tmp_path):
    "A study and its report, which shows some of them."
    torch.manual_seed(0)
    x, y = torch.rand(4000, 4, 4), torch.arange(4000) % 1000
    task = Task.from_tensors(x, y, x[:2000], y[:2000], x[:1000], y[:1000], name="many", device="cpu")
    with contextlib.redirect_stderr(io.StringIO()):
        compare(["backprop"], task, seeds=2, epochs=1, hidden=(5,), perturbations=[], out=tmp_path, progress=False)
    from bioplaus import report
    with pytest.MonkeyPatch.context() as m:
        m.setattr(report, "task_of", lambda *_: task)
        page = write_report(tmp_path).read_text()
    assert "50 of the 1000 classes are shown" in page and len(repr(task)) < 200
    assert max(len(f.name) for f in tmp_path.rglob("*")) < 200


def test_a_channel_changes_nothing():
    "Images with an axis for one channel are trained, corrupted and looked into like plain ones."
    def found(x):
        task = Task.from_tensors(x[:600], Y[:600], x[600:800], Y[600:800], device="cpu")
        assert task.shape in ((8, 8), (64,))
        how = dict(seeds=2, epochs=1, hidden=(5,), perturbations=["blur:0.06", "fog:0.3"], progress=False)
        with contextlib.redirect_stderr(io.StringIO()): return compare(["backprop"], task, **how).accuracy
    plain = found(X)
    for x in (X[:, None], X[..., None], X.reshape(-1, 64)): assert found(x).equals(plain)


def test_every_kind_of_data_makes_the_same_task():
    "Byte order, direction, tables, names of classes, bytes."
    names = np.array([f"class {c}" for c in "abcdefghij"])[Y]
    want = Task.from_tensors(X[:600].copy(), Y[:600], X[600:800], Y[600:800], device="cpu")
    turned = np.ascontiguousarray(np.rot90(X, axes=(1, 2)))
    for x, y in ((X.astype(">f4"), Y.astype(">i2")), (np.rot90(turned, -1, axes=(1, 2)), names),
                 (X.astype("f8")[::1], pd.Series(names)),
                 (pd.DataFrame(X.reshape(-1, 64)), pd.DataFrame({"class": pd.Categorical(names)})),
                 (X.tolist(), Y.tolist())):
        task = Task.from_tensors(x[:600], y[:600], x[600:800], y[600:800], device="cpu")
        assert torch.equal(task.x_train, want.x_train) and torch.equal(task.y_test, want.y_test)
    assert task.classes == tuple(range(10))
    said = io.StringIO()
    with contextlib.redirect_stderr(said): task = Task.from_tensors((X * 255).astype("u1"), Y, (X * 255).astype("u1"),
                                                                    Y)
    assert "divided by 255" in said.getvalue() and task.x_test.max() == 1


class NoDoubles(TorchDispatchMode):
    "Nothing of double precision is made: some devices have none."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [t.dtype for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        assert not {torch.float64, torch.complex128} & set(made), func
        return out


@pytest.mark.parametrize("rule", ["backprop", "softhebb", "dfc-ssa", "weight-mirror", "microcircuit"])
def test_a_plain_run_needs_no_doubles(rule, digits):
    made = make_rule(rule, MLP((64, 8, 10), replicas=2))
    with NoDoubles(), contextlib.redirect_stderr(io.StringIO()):
        run = fit(made, digits, epochs=1, progress=False)
        run.evaluate(digits.x_test, digits.y_test, "gaussian:0.3")


@pytest.mark.parametrize("wrap", ["rule", "network"])
def test_a_compiled_rule_is_stored_and_loaded(wrap, digits, tmp_path):
    "torch.compile puts a wrapper around it, whose name must not get into the file."
    rule = make_rule("backprop", MLP((64, 8, 10), replicas=2))
    if wrap == "network": rule.net = torch.compile(rule.net)
    compiled = torch.compile(rule) if wrap == "rule" else rule
    for epochs in (1, 2):  # the second goes on from what the first has stored
        run = fit(compiled, digits, epochs=epochs, lr=0.3, out=tmp_path, progress=False, warn=False)
    x = digits.x_test[:50]
    assert torch.equal(load_run(tmp_path).rule.predict(x), run.rule.predict(x)) and run.epoch == 2


@pytest.mark.parametrize("stream", [None, "closed", "full"])
def test_nobody_hears(stream, monkeypatch, digits, tmp_path):
    "A standard error that is closed or full ends no run."
    file = io.StringIO() if stream == "closed" else open("/dev/full", "w") if stream else None
    if stream == "closed": file.close()
    monkeypatch.setattr(sys, "stderr", file)
    tell("nobody hears this")
    assert list(progress_bar([1, 2])) == [1, 2]
    run = fit(make_rule("backprop", MLP((64, 8, 10))), digits, epochs=1, lr=1e9, out=tmp_path)
    assert run.epoch == 1 and load_run(tmp_path).epoch == 1


@pytest.mark.usefixtures("png_alone")
def test_one_unit(tmp_path):
    "A hidden layer of one unit has no t-SNE; its report is written all the same."
    with contextlib.redirect_stderr(io.StringIO()):
        compare(["backprop"], "digits", seeds=2, epochs=1, hidden=(1,), perturbations=["gaussian:0.1"], out=tmp_path,
                progress=False,
                device="cpu")
    page = write_report(tmp_path).read_text()
    assert "What have they learnt?" in page and "Not shown" not in page


def test_distances_in_pieces_are_the_same(monkeypatch):
    a = torch.rand(5, 30, 8, generator=torch.Generator().manual_seed(0))
    for metric in ("correlation", "euclidean"):
        whole = rdm(a, metric).d
        with monkeypatch.context() as m:
            m.setattr(representations, "AT_ONCE", 2 * 30 * 30)
            torch.testing.assert_close(rdm(a, metric).d, whole, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(core, "free_memory", lambda: 8e9)
    with pytest.raises(BadInput, match="10,000 × 10,000 distances in 10 replicas would take 1"):
        rdm(torch.zeros(1, 1, 1).expand(10, 10_000, 4))


def test_a_plugin_does_not_take_the_name_of_a_rule_when_it_is_imported(tmp_path):
    "It is told; its other rule works, and backprop is what it was."
    source = bad.RULE + bad.RULE.split("\n", 1)[1].replace("'twin'", "'backprop'").replace("def twin", "def other")
    with bad.installed(tmp_path / "p", "rules", "plug_both", source), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert make_rule("twin", MLP((64, 10))).name == "twin"
        assert core.find_rule("backprop").__module__ == core.cards()["backprop"].module == "bioplaus.rule"
    assert any("plug_both.other" in str(w.message) for w in said)


def test_no_home(monkeypatch):
    from bioplaus.data import data_folder
    for name in ("HOME", "XDG_CACHE_HOME", "BIOPLAUS_DATA", "LOCALAPPDATA"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda p: p)
    with pytest.raises(BadInput, match="BIOPLAUS_DATA"): data_folder()
    with pytest.raises(BadInput, match="whole path"): core.as_path("~/runs")
    assert core.as_path("/runs") == Path("/runs")
