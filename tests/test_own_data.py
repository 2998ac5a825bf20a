"""Data of one's own: every way in gives the images that were written, in the split that scikit-learn draws; studies
know data by their content; and what can't be read is refused in one line."""
import contextlib, io, os, subprocess, sys, warnings, zipfile
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
from bioplaus.robustness import robustness_suite
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


@pytest.mark.usefixtures("png_alone")
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


@pytest.mark.usefixtures("png_alone")
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


# ---- in colour ------------------------------------------------------------------------------------------------------

HUES = np.stack([X, X[:, ::-1], 255 - X], 1)[:, :, :, :7]  # (300, 3, 8, 7): not square
BEHIND = HUES.transpose(0, 2, 3, 1)
FULL = np.full((300, 8, 7, 1), 255, np.uint8)


def hued(folder: Path, mode="RGB", kind="png") -> Path:
    for i, (x, name) in enumerate(zip(BEHIND, Y)):
        (here := folder / str(name)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).convert(mode).save(here / f"{i:03}.{kind}")
    return folder


def rows(order) -> pd.DataFrame:
    flat = order.reshape(300, -1)
    return pd.DataFrame(flat, columns=[f"p{i}" for i in range(flat.shape[1])]).assign(label=Y)


IN_COLOUR = {
    "npz": lambda d: np.savez(d / "a.npz", images=HUES, labels=Y) or "a.npz",
    "npz, channels behind": lambda d: np.savez(d / "a.npz", images=BEHIND, labels=Y) or "a.npz",
    "npz, alpha": lambda d: np.savez(d / "a.npz", images=np.concatenate([BEHIND, FULL], -1), labels=Y) or "a.npz",
    "npz, reals, Fortran": lambda d: np.savez(d / "a.npz", x=np.asfortranarray(BEHIND / 255), y=Y) or "a.npz",
    "npy": lambda d: (np.save(d / "X.npy", HUES), np.save(d / "y.npy", Y)) and "X.npy",
    "csv": lambda d: rows(BEHIND).to_csv(d / "a.csv", index=False) or "a.csv:shape=8x7x3",
    "parquet": lambda d: rows(HUES).to_parquet(d / "a.parquet") or "a.parquet:shape=3x8x7",
}


@pytest.mark.parametrize("way", IN_COLOUR)
def test_every_way_of_colour_is_the_same_task(way, tmp_path):
    task, own = load(f"{tmp_path}/{IN_COLOUR[way](tmp_path)}"), Task.from_tensors(HUES, Y, name="own", device="cpu")
    assert task.shape == own.shape == (3, 8, 7) and torch.allclose(task.x_test, own.x_test, atol=1e-7)
    planes = own.x_train.numpy().reshape(-1, 3, 56)
    np.testing.assert_allclose(task.mean, planes.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(task.std, planes.std((0, 2), ddof=1), rtol=1e-5)
    save_task(task, tmp_path / "again.npz")
    back = load(tmp_path / "again.npz")
    assert (back.fingerprint, back.mean, back.std, back.shape) == (task.fingerprint, task.mean, task.std, task.shape)


@pytest.mark.parametrize("mode, kind", [("RGB", "png"), ("RGBA", "png"), ("RGB", "bmp"), ("RGB", "tiff"),
                                        ("RGB", "ppm"), ("CMYK", "tiff")])
def test_a_folder_of_colours(mode, kind, tmp_path):
    "Against the pixels that were written."
    task = load(hued(tmp_path / "p", mode, kind))
    every = torch.cat([task.x_train, task.x_valid, task.x_test]).sum(0)
    assert task.shape == (3, 8, 7)
    assert torch.allclose(every, torch.tensor(HUES).float().flatten(1).sum(0) / 255, atol=1e-3)


def test_grey_among_colours_is_said(tmp_path, capsys):
    "In one class or in one part; a grey picture then has three equal channels."
    Image.fromarray(X[0][:, :7]).save(hued(tmp_path / "p") / "NA" / "grey.png")
    task = load(tmp_path / "p")
    assert task.shape == (3, 8, 7) and "1 of 301 pictures are grey" in capsys.readouterr().err
    every = torch.cat([task.x_train, task.x_valid, task.x_test]).reshape(-1, 3, 56)
    assert ((every == every[:, :1]).all(2).all(1)).sum() == 1
    np.savez(tmp_path / "m.npz", x_train=HUES, y_train=Y, x_test=X[:, :, :7], y_test=Y)
    task = load(tmp_path / "m.npz")
    assert task.x_test.shape == (300, 168) and "some images are grey" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["PathMNIST", "BreastMNIST"])
def test_medmnist(kind, tmp_path):
    "Its names of arrays, and labels in a column; colours and grey."
    x = BEHIND if kind == "PathMNIST" else X
    codes = np.unique(Y, return_inverse=True)[1][:, None].astype(np.uint8)
    cut = {"train": slice(200), "val": slice(200, 250), "test": slice(250, 300)}
    np.savez(tmp_path / f"{kind.lower()}.npz", **{f"{p}_images": x[s] for p, s in cut.items()},
             **{f"{p}_labels": codes[s] for p, s in cut.items()})
    task = load(tmp_path / f"{kind.lower()}.npz")
    assert [len(y) for y in (task.y_train, task.y_valid, task.y_test)] == [200, 50, 50] and task.n_classes == 5
    shown = task.pictures(task.x_test)
    assert torch.allclose(shown, torch.tensor(x[250:]).float() / 255)


def test_labels_from_one(tmp_path):
    "Labels need not start at 0; they keep their names."
    np.savez(tmp_path / "a.npz", x=HUES, y=np.arange(300) % 26 + 1)
    task = load(tmp_path / "a.npz")
    assert task.classes == tuple(range(1, 27)) and task.y_train.min() == 0 and task.y_train.max() == 25


def put(picture, name="odd.png"):
    return lambda folder: picture.save(folder / "NA" / name)


ODD = {
    "larger": (put(Image.new("RGB", (9, 8), "red")), "7×8 pixels.*9×8 pixels.*nothing is resized"),
    "grey and larger": (put(Image.new("L", (9, 8))), "9×8 pixels.*nothing is resized"),
    "16 bits": (put(Image.fromarray(np.full((8, 7), 5000, np.uint16))), "odd.png has 16 bits.*white=65535"),
    "transparent": (put(Image.new("RGBA", (7, 8), (9, 8, 7, 100))), "odd.png has an alpha channel.*background"),
    "an empty class": (lambda folder: (folder / "none").mkdir(), "none is empty: a class needs pictures"),
    "no picture": (lambda folder: (folder / "NA" / "notes.txt").write_text("hello"), "notes.txt is no picture"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_in_a_folder_of_colours_is_named(odd, tmp_path):
    ODD[odd][0](hued(tmp_path / "p"))
    with pytest.raises(BadInput, match=ODD[odd][1]) as e: load(tmp_path / "p")
    assert "\n" not in str(e.value)


def test_colours_of_16_bits(tmp_path):
    "Pillow reads them as 8 bits and says nothing; their header says it."
    import struct, zlib
    chunk = lambda k, d: struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
    raw = b"".join(b"\0" + bytes(6 * 7) for _ in range(8))
    (hued(tmp_path / "p") / "NA" / "odd.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 8, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    with pytest.raises(BadInput, match="odd.png has 16 bits.*8 bits"): load(tmp_path / "p")


def cifar(folder: Path, binary: bool) -> Path:
    "A made-up set in a layout of CIFAR-10."
    import pickle
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        x, y = rng.integers(0, 256, (40, 3072), np.uint8), np.arange(40) % 10
        if binary: (folder / f"{name}.bin").write_bytes(np.hstack([y[:, None].astype(np.uint8), x]).tobytes())
        else: (folder / name).write_bytes(pickle.dumps({b"data": x, b"labels": y.tolist()}, protocol=2))
    return folder


@pytest.mark.parametrize("binary", [True, False])
def test_a_folder_laid_out_as_cifar(binary, tmp_path, capsys):
    "Is a task; both layouts are the same one; and it is said that these aren't the published images."
    import tarfile
    folder = cifar(tmp_path / "c", binary)
    task = load(folder)
    assert task.shape == (3, 32, 32) and len(task.y_train) == 180 and "not the published" in capsys.readouterr().err
    x = np.random.default_rng(0).integers(0, 256, (40, 3072), np.uint8)  # of the first file
    every = {row.numpy().tobytes() for row in torch.cat([task.x_train, task.x_valid])}
    assert {row.numpy().tobytes() for row in torch.tensor(x).float() / 255} <= every
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar: tar.add(folder, "c")
    assert load(tmp_path / "c.tar.gz").fingerprint == task.fingerprint


@pytest.mark.parametrize("more", [[], pytest.param(["--random"], marks=pytest.mark.weekly)])
def test_the_recipe_for_cifar_runs_and_goes_on(more, tmp_path):
    "On a made-up set: each seed is computed once, and a whole stack that misses its bar says so."
    script, net = Path(__file__).parent.parent / "tools" / "cifar_recipe.py", "triangle norm c4k5r2 pow0.7 avg8"
    words = ["--task", cifar(tmp_path / "c", binary=True), "--net", net, "--epochs", "2", "--no-progress", *more,
             "--out", tmp_path / "out"]
    def run(*seeds):
        done = subprocess.run([sys.executable, script, *words, *seeds], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()
    first = run("--seeds", "1")
    kept = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*.json")}
    both = run("--seeds", "2")
    assert both[0] == first[0] and both[1].startswith("seed 1: valid ") and "± " in both[2]
    assert kept and all(f.stat().st_mtime_ns == t for f, t in kept.items())


@pytest.mark.parametrize("damage, says", [("cut", "corrupt or no file"), ("foreign", "corrupt or no file"),
                                          ("missing", "lacks"), ("labels", "labels from"), ("empty", "corrupt or no")])
@pytest.mark.parametrize("binary", [True, False])
def test_damaged_files_of_cifar_are_named(binary, damage, says, tmp_path):
    import pickle
    folder = cifar(tmp_path / "c", binary)
    file = folder / ("data_batch_3.bin" if binary else "data_batch_3")
    strange = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]})
    if damage == "cut": file.write_bytes(file.read_bytes()[:-7])
    if damage == "foreign": file.write_bytes(b"PK\3\4" + bytes(5000))
    if damage == "missing": file.unlink()
    if damage == "labels": file.write_bytes(bytes([10]) + bytes(3072) if binary else strange)
    if damage == "empty": file.write_bytes(b"")
    with pytest.raises(BadInput, match=f"{file.name}.*{says}|{says}.*{file.name}") as e: load(folder)
    assert "\n" not in str(e.value)


def test_a_pickle_that_calls_something_is_not_run(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self): return os.mkdir, (str(tmp_path / "sprung"),)
    folder = cifar(tmp_path / "c", binary=False)
    for trap in (Trap(), {b"data": Trap()}):
        (folder / "data_batch_2").write_bytes(pickle.dumps(trap))
        with pytest.raises(BadInput, match="mkdir"): load(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("png_alone")
def test_features_get_a_word_before_training(tmp_path):
    "What needs rows and columns is refused at once, by the study and by a run."
    x = np.random.default_rng(0).random((60, 13))
    task = Task.from_tensors(x, np.arange(60) % 3, name="wine", device="cpu")
    with pytest.raises(BadInput, match="rows × columns.*leave this perturbation out"):
        compare(["backprop"], task, perturbations=["fog:0.3"], epochs=10**6, progress=False)
    with pytest.raises(BadInput, match="rows × columns"):
        fit(make_rule("backprop", MLP((13, 5, 3))), task, epochs=10**6, augment="rotation:10", progress=False)
    with pytest.raises(BadInput, match="wine has rows of 13 features.*shape=1x13"):
        compare(["backprop"], task, perturbations=["gaussian:0.1", "fgsm:0.05"], epochs=10**6, progress=False)
    rule = make_rule("backprop", MLP((13, 5, 3)))
    with pytest.raises(BadInput, match="rows × columns"): robustness_suite(rule, task, progress=False)
    line = Task.from_tensors(x[:, None], np.arange(60) % 3, name="wine", device="cpu")
    for given, tried in ((task, ["gaussian:0.1", "hidden-noise:0.5"]), (line, ["gaussian:0.1", "fgsm:0.05"])):
        folder = tmp_path / str(len(given.shape))
        with quiet(): compare(["backprop"], given, out=folder, **HOW | dict(perturbations=tried))
        assert "Not shown" not in write_report(folder).read_text()
