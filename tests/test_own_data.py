"""Data of one's own: every way in gives the images that were written, in the split that scikit-learn draws; studies
know data by their content; and what can't be read is refused in one line."""
import contextlib, io, os, warnings, zipfile
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from bioplaus import design
from bioplaus.core import BadInput, RunFailed
from bioplaus.data import Task, load_task
from bioplaus.files import called, save_task, with_sources
from bioplaus.report import write_report
from bioplaus.study import compare, load_study
from bioplaus.training import fit
from bioplaus.network import MLP
from bioplaus.rule import make_rule

NAMES = ["NA", "null", "nan", "None", "007"]
DIGITS = load_digits(n_class=5)
X, Y = (DIGITS.images[:300] * 15.9375).astype(np.uint8), np.array(NAMES)[DIGITS.target[:300]]
HOW = dict(seeds=2, epochs=1, hidden=(5,), perturbations=["gaussian:0.3"], progress=False, device="cpu")


def table(**more) -> pd.DataFrame:
    flat = pd.DataFrame(X.reshape(len(X), -1), columns=[f"p{i}" for i in range(64)])
    return flat.assign(**{"label": Y, **more})


def load(path, **how) -> Task: return load_task(path, device="cpu", **how)


WAYS = {
    "npz": lambda d: np.savez(d / "a.npz", images=X, labels=Y) or "a.npz",
    "npz, big-endian, Fortran": lambda d: np.savez(d / "b.npz", x=np.asfortranarray(X.astype(">u2")), y=Y) or "b.npz",
    "npz, a channel, reals": lambda d: np.savez(d / "c.npz", data=X[..., None] / 255, target=Y) or "c.npz",
    "npy": lambda d: (np.save(d / "X.npy", X[:, None]), np.save(d / "y.npy", Y)) and "X.npy",
    "csv": lambda d: table().to_csv(d / "a.csv", index=False) or "a.csv",
    "csv, label first": lambda d: table()[["label", *table().columns[:-1]]].to_csv(d / "f.csv", index=False) or "f.csv",
    "tsv": lambda d: table().to_csv(d / "a.tsv", index=False, sep="\t") or "a.tsv",
    "csv, Excel": lambda d: table().to_csv(d / "x.csv", index=False, sep=";", encoding="utf-8-sig",
                                           lineterminator="\r\n") or "x.csv",
    "csv, quoted": lambda d: table().to_csv(d / "q.csv", index=False, quoting=1) or "q.csv",
    "parquet": lambda d: table().to_parquet(d / "a.parquet") or "a.parquet",
    "parquet, categories": lambda d: table(label=pd.Categorical(Y)).to_parquet(d / "k.parquet") or "k.parquet",
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_the_same_task(way, tmp_path):
    "And its parts are those that scikit-learn draws."
    task = load(tmp_path / WAYS[way](tmp_path))
    codes = np.unique(Y, return_inverse=True)[1]
    rest, test = map(np.sort, train_test_split(np.arange(300), test_size=0.2, stratify=codes, random_state=0))
    train, valid = map(np.sort, train_test_split(rest, test_size=0.1, stratify=codes[rest], random_state=0))
    assert task.classes == tuple(sorted(NAMES))
    for part, at in (("train", train), ("valid", valid), ("test", test)):
        found = getattr(task, f"x_{part}").reshape(-1, 8, 8)
        assert torch.allclose(found, torch.tensor(X[at]).float() / 255, atol=1e-7)
        assert [task.classes[c] for c in getattr(task, f"y_{part}")] == Y[at].tolist()


def pictures(folder: Path, mode="L", names=Y, parts=("",)) -> Path:
    for i, (x, name) in enumerate(zip(X, names)):
        here = folder / parts[i % len(parts)] / str(name)
        here.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).convert(mode).save(here / f"{i:03}.png")
    return folder


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_folder_of_pictures(mode, tmp_path):
    "Grey ones in any coat, hidden files and all, against Pillow's own reading."
    (pictures(tmp_path / "p", mode) / "NA" / ".DS_Store").touch()
    (tmp_path / "p" / ".git").mkdir()
    task = load(tmp_path / "p")
    assert task.shape == (8, 8) and task.classes == tuple(sorted(NAMES)) and len(task.y_test) == 60
    every = torch.cat([task.x_train, task.x_valid, task.x_test]).sum(0)
    assert torch.allclose(every.reshape(8, 8), torch.tensor(X).float().sum(0) / 255, atol=1e-3)


def test_a_folder_with_test_pictures(tmp_path):
    task = load(pictures(tmp_path / "p", parts=("train", "train", "test")))
    assert len(task.y_test) == 100 and len(task.y_train) + len(task.y_valid) == 200
    assert torch.equal(task.x_test.sum(0), load(tmp_path / "p", seed=3).x_test.sum(0))
    with pytest.raises(BadInput, match="test images of its own"): load(f"{tmp_path}/p:test=0.3")


def test_labels_are_numbers_only_if_all_are(tmp_path):
    for labels, wanted in ((["1", "2", "10"], (1, 2, 10)), (["1.0", "2.0", "3.0"], (1, 2, 3)),
                           (["01", "2", "3"], ("01", "2", "3")), (["1", "2", "x"], ("1", "2", "x")),
                           (["-1", "0", "1"], (-1, 0, 1)), (["True", "False", "é"], ("False", "True", "é"))):
        pd.DataFrame({"label": labels * 20, "p": np.arange(60) * 4, "q": 255}).to_csv(tmp_path / "l.csv", index=False)
        assert load(tmp_path / "l.csv").classes == wanted
    assert load(tmp_path / "l.csv", classes=["é", "True"]).classes == ("é", "True")


def test_the_test_images_stay(tmp_path):
    "Whatever the validation split; their share and their draw can be asked for."
    table().to_csv(tmp_path / "a.csv", index=False)
    one, other, drawn = (load(f"{tmp_path}/a.csv{end}", seed=s) for end, s in (("", 0), ("", 1), (":split=1", 0)))
    assert torch.equal(one.x_test, other.x_test) and not torch.equal(one.x_valid, other.x_valid)
    assert not torch.equal(one.x_test, drawn.x_test)
    assert len(load(f"{tmp_path}/a.csv:test=1/3").y_test) == 100


@pytest.mark.parametrize("named", ["digits:late=2", "digits:few=20", "digits"])
def test_a_task_comes_back_from_its_file(named, tmp_path):
    for normalise in ("standard", "unit"):
        task = load(named, classes=[3, 1, 2], normalise=normalise)
        save_task(task, tmp_path / f"{normalise}.npz")
        back = load(tmp_path / f"{normalise}.npz")
        assert back.fingerprint == task.fingerprint and back.classes == (3, 1, 2)
        assert (back.mean, back.std, back.shape) == (task.mean, task.std, task.shape)


# ---- found again ----------------------------------------------------------------------------------------------------

def quiet(): return contextlib.redirect_stderr(io.StringIO())


def test_a_study_finds_its_data_again(tmp_path, monkeypatch):
    "With two workers, on a restart, from elsewhere, after a move; and notices when they have changed."
    monkeypatch.chdir(tmp_path)
    table().to_csv("mine.csv", index=False)
    with quiet(): first = compare(["backprop", "hebb"], "mine.csv", out="s", workers=2, **HOW)
    assert set(first.task) == {"mine.csv"} and set(first.labels) == {"-".join(sorted(NAMES))}
    monkeypatch.chdir("/")
    page = write_report(tmp_path / "s").read_text()
    assert "Not shown" not in page and "representations_rdms" in str(list((tmp_path / "s" / "figures").iterdir()))
    monkeypatch.chdir(tmp_path)
    Path("moved").mkdir()
    Path("mine.csv").rename("moved/mine.csv")
    with quiet(): again = compare(["backprop", "hebb"], "moved/mine.csv", out="s", **HOW)
    assert again.accuracy.equals(first.accuracy)
    Path("moved/mine.csv").write_text(Path("moved/mine.csv").read_text().replace("007", "008"))
    with pytest.raises(BadInput, match="other data"): compare(["backprop", "hebb"], "moved/mine.csv", out="s", **HOW)
    assert load_study("s").results.accuracy.equals(first.accuracy)
    design._loaded.cache_clear()  # as in a new process
    with pytest.raises(RunFailed, match="holds other data"): write_report("s")  # the page stays as it was
    assert Path("s/report.html").read_text() == page


def test_a_study_keeps_data_from_memory(tmp_path):
    task = Task.from_tensors(X, Y, name="NA", device="cpu")
    with quiet(): found = compare(["backprop"], task, out=tmp_path, **HOW)
    assert "Not shown" not in write_report(tmp_path).read_text() and set(found.task) == {"NA"}
    with quiet(): assert compare(["backprop"], task, out=tmp_path, **HOW).accuracy.equals(found.accuracy)
    other = Task.from_tensors(X[::-1], Y[::-1], name="NA", device="cpu")
    with pytest.raises(BadInput, match="other data"): compare(["backprop"], other, out=tmp_path, **HOW)


def test_a_run_goes_on_with_moved_data_and_not_with_others(tmp_path):
    for i, name in enumerate(("a.csv", "b.csv", "c.csv")):
        table(p0=X[:, 0, 0] + i // 2).to_csv(tmp_path / name, index=False)
    os.mkdir(tmp_path / "moved")
    train = lambda task, epochs: fit(make_rule("backprop", MLP((64, 5, 5))), task, epochs=epochs, out=tmp_path / "run",
                                     progress=False, warn=False)
    train(load(tmp_path / "a.csv"), 1)
    os.rename(tmp_path / "a.csv", tmp_path / "moved" / "a.csv")
    assert train(load(tmp_path / "moved" / "a.csv"), 2).epoch == 2
    table(p0=X[:, 0, 0] + 1).to_csv(tmp_path / "moved" / "a.csv", index=False)
    with pytest.raises(BadInput, match="data are others"): train(load(tmp_path / "moved" / "a.csv"), 3)


def test_names_of_files_are_short_and_told_apart(tmp_path):
    for d in ("one", "two"):
        (tmp_path / d).mkdir()
        table().to_csv(tmp_path / d / "a.csv", index=False)
    one, two = with_sources([tmp_path / "one" / "a.csv", tmp_path / "two" / "a.csv"])
    assert called(one) == called(two) == "a.csv" and one != two
    with pytest.raises(BadInput, match="one folder|twice"): compare(["backprop"], [one, two], **HOW)
    with pytest.raises(BadInput, match="different names"): compare(["backprop"], [one, one], **HOW)


# ---- refused --------------------------------------------------------------------------------------------------------

def test_nothing_is_unpickled(tmp_path):
    "An archive of Python objects is refused without running what they say."
    class Trap:
        def __reduce__(self): return os.mkdir, (str(tmp_path / "sprung"),)
    np.savez(tmp_path / "t.npz", x=X, y=np.array([Trap()] * len(X), dtype=object), allow_pickle=True)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.array([Trap()] * len(X), dtype=object), allow_pickle=True)
    for file in ("t.npz", "x.npy"):
        with pytest.raises(BadInput, match="Python objects"): load(tmp_path / file)
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "b.npz", x=X, y=Y)
    with zipfile.ZipFile(tmp_path / "b.npz", "a") as z:
        for info in z.infolist(): info.file_size = 40 << 30
        z.comment = b"written anew"
    with pytest.raises(BadInput, match="GB"): load(tmp_path / "b.npz")


def test_a_picture_that_unpacks_to_more_is_refused(tmp_path):
    (tmp_path / "p" / "a").mkdir(parents=True)
    Image.new("L", (14_000, 14_000)).save(tmp_path / "p" / "a" / "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match="can't be read as a picture"): load(tmp_path / "p")
