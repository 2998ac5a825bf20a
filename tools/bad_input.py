"""What people, disks and packages hand over by mistake.   python tools/bad_input.py [PART ...] [--seed 0] [--show]

files      made-up headers, archives and damaged files, for the readers of adversarial test sets, MNIST-C and MNIST
data       tables, archives and folders of pictures of one's own that can't be a task
commands   command lines with a wrong, empty, huge or repeated option
calls      calls from Python with images, labels, sizes and names that can't be
plugins    installed packages that are broken in some way

Each case must end within a minute in one line that says what to do (a BadInput or RunFailed; exit code 1 or 2), or be
done right. A traceback, an error of another package, what is taken in silence, and a lost result are counted; exit
code 1 if there are any. Command lines run in this process, but for those that need streams of their own.
"""
import argparse, contextlib, importlib, io, itertools, json, os, resource, shutil, signal, struct, subprocess, sys
import tempfile, warnings, zipfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np, pandas as pd, torch
from bioplaus import cli, core
from bioplaus.attacks import FGSM, PGD, blind_share, load_adversarial, make_adversarial, worst_case
from bioplaus.core import BadInput, RunFailed
from bioplaus.data import Task, load_task
from bioplaus.geometry import knn_accuracy, pca, tsne
from bioplaus.mediators import mediators
from bioplaus.network import MLP, make_network
from bioplaus.noise import corrupted
from bioplaus.report import write_report
from bioplaus.representations import activities, rdm
from bioplaus.robustness import robustness_suite
from bioplaus.rule import make_rule
from bioplaus.search import search_lr
from bioplaus.sensitivity import input_gradient
from bioplaus.shown import known, perturbation
from bioplaus.study import compare, load_study
from bioplaus.training import evaluate, fit, load_run

SECONDS, MEMORY = 60, 16 << 30 # for one case; of addresses, for all


class Endless(BaseException):
    "A case has taken too long."


def ring(*_): raise Endless


def judged(case, accept=lambda found: False) -> str:
    "What is wrong with how a case ended, or nothing. `accept` says of a value whether it is right."
    signal.alarm(SECONDS)
    try: found = case()
    except (BadInput, RunFailed) as e:
        said = str(e)
        return f"{len(said):,} characters" if len(said) > 1500 else "no word" if not said.strip() else ""
    except Endless: return f"still busy after {SECONDS} s"
    except Exception as e: return f"raw {type(e).__name__}: {' '.join(str(e).split())[:150]}"
    finally: signal.alarm(0)
    return "" if accept(found) else f"accepted: {str(found)[:100]!r}"


def counted(part: str, cases) -> list[str]:
    "The faults of a part, printed as they come."
    n, wrong = 0, []
    for name, case, *accept in cases:
        n += 1
        if ARGS.show: print(f"  {part}: {name[:200]!r}", flush=True)
        if why := judged(case, *accept):
            wrong.append(name)
            print(f"WRONG {part}: {name[:150]!r}: {why}", flush=True)
    print(f"{part}: {len(wrong)} of {n} wrong", flush=True)
    return wrong


# ---- files ----------------------------------------------------------------------------------------------------------

def header(shape, kind="<f4", order="False", version=(1, 0), text=None) -> bytes:
    "A NumPy header that says so, whatever follows."
    said = text or f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"
    said = said.ljust(117) + "\n"
    if len(said) > 65_000: version = (2, 0)
    size = struct.pack("<H" if version[0] == 1 else "<I", len(said))
    return b"\x93NUMPY" + bytes(version) + size + said.encode()


def headers() -> dict[str, bytes]:
    "Starts of NumPy files that promise what isn't there."
    shapes = ["(1000000000000, 64)", "(-1, 64)", "(20, -64)", "(20,)", "()", "(20, 64, 0)", f"({'9' * 60}, 64)", "20",
              "(20.5, 64)", "[20, 64]", "(True, 64)", "None", "'(20, 64)'", "(21, 64)", "(20, 65)", "(2**40, 64)"]
    found = {f"shape {s}": header(s) for s in shapes}
    kinds = ["|O", "<c8", "|V8", "<M8[s]", "<U0", "<f16", "frog", "<f4,<i4", "|S5", "<f400", ">f4x", ""]
    found |= {f"kind {k}": header("(20, 64)", k) + bytes(20 * 64 * 4) for k in kinds}
    found |= {f"version {v}": header("(20, 64)", version=v) + bytes(20 * 64 * 4) for v in ((3, 0), (9, 9), (0, 0))}
    texts = ["[" * 100_000, "{", "{}", "open('x')", "{'descr': '<f4'}", "\x00" * 100, "1" * 50_000, "{'a': " * 5_000]
    found |= {f"text {t[:20]}": header("", text=t) for t in texts}
    return found | {"nothing": b"", "magic alone": b"\x93NUMPY", "no magic": b"PK" * 50}


def archive(file: Path, parts: dict, **how):
    "An .npz file of arrays, or of bytes as they are."
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **how) as z:
        for name, part in parts.items():
            raw = io.BytesIO()
            if not isinstance(part, bytes): np.save(raw, part, allow_pickle=True)
            z.writestr(f"{name}.npy", part if isinstance(part, bytes) else raw.getvalue())


def contents(x, y) -> dict[str, dict]:
    "What else an archive may hold in place of an adversarial test set."
    texts = ["[1]", "null", "[" * 100_000, "{", "1", '"a"', '{"settings": 5}', '{"task": [1]}', "", "NaN", "\x00"]
    changed = {f"about {t[:20]!r}": dict(about=t) for t in texts}
    changed |= {f"labels {k}": dict(labels=v) for k, v in {
        "text": y.astype(str), "halves": y + 0.5, "negative": -y - 1, "large": y + 10, "short": y[:-1],
                                                           "two": y[:, None],
        "complex": y.astype(complex), "objects": y.astype(object), "none": y[:0], "bools": y > 4}.items()}
    changed |= {f"clean {k}": dict(clean=v) for k, v in {
        "complex": x.astype(complex), "16 bits": x.astype("uint16"), "bytes": (255 * x).astype("uint8"),
                                                         "text": x.astype(str),
        "objects": x.astype(object), "cube": x[None], "flat": x.ravel(), "nan": x * np.nan, "inf": x + np.inf,
        "large": 255 * x, "negative": x - 1, "narrow": x[:, :5], "none": x[:0], "one": np.float32(1)}.items()}
    return changed | {"classes 10": dict(classes=np.array(10)), "classes 3": dict(classes=np.arange(3)),
                      "classes floats": dict(classes=np.arange(10) + 0.5), "classes objects": dict(classes=[{}] * 10)}


def file_cases(folder: Path, rng):
    x, y, f = rng.random((20, 64)).astype("f4"), np.arange(20) % 10, folder / "a.npz"
    good = dict(clean=x, adversarial=x, labels=y, classes=np.arange(10), about=json.dumps({"attack": "PGD"}))
    same = lambda a: torch.equal(a.clean,
                                 torch.tensor(x)) and a.labels.tolist() == y.tolist() and a.about == {"attack": "PGD"}
    load = lambda: load_adversarial(f)

    def written(content):
        f.write_bytes(content) if isinstance(content, bytes) else archive(f, content)
        return load()

    yield "big-endian pixels", lambda: written(good | dict(clean=x.astype(">f4"))), same
    yield "Fortran's order", lambda: written(good | dict(clean=np.asfortranarray(x))), same
    for name, change in contents(x, y).items(): yield name, lambda c=change: written(good | c)
    for name, start in headers().items(): yield f"archive, {name}", lambda s=start: written(good | dict(clean=s))
    for name in good: yield f"without {name}", lambda n=name: written({k: v for k, v in good.items() if k != n})
    archive(f, good)
    whole = f.read_bytes()
    for i in range(40):
        yield f"cut at {i} of 40", lambda i=i: written(whole[:len(whole) * i // 40])
        damaged = bytearray(whole)
        for k in rng.integers(0, len(damaged), 1 + i % 12): damaged[k] = rng.integers(256)
        yield f"random bytes, {i}", partial(written, bytes(damaged)), same
    yield from odd_files(folder, good, f)
    yield from mnist_c_cases(folder)
    yield from idx_cases(folder, rng)


def odd_files(folder: Path, good: dict, f: Path):
    "Archives that unpack to more than they should, and things that are no files."
    def bomb():
        archive(f, good)
        with zipfile.ZipFile(f, "a", zipfile.ZIP_DEFLATED) as z:  # the list of contents says 40 GB
            for info in z.infolist(): info.file_size = 40 << 30
            z.comment = b"written anew"
        return load_adversarial(f)
    def locked():
        archive(f, good)
        raw = bytearray(f.read_bytes())
        for i in range(len(raw) - 4):  # the flag that says "encrypted", in both kinds of header
            if raw[i:i + 4] in (b"PK\x03\x04", b"PK\x01\x02"): raw[i + (6 if raw[i + 2] == 3 else 8)] |= 1
        f.write_bytes(bytes(raw))
        return load_adversarial(f)
    yield "a bomb", bomb
    yield "encrypted", locked
    for path in (folder, "/dev/null", "/dev/zero", "", folder / "nowhere.npz", folder / ("n" * 300), "a\0b"):
        yield f"no file: {str(path)[-20:]!r}", lambda p=path: load_adversarial(p)


def mnist_c_cases(folder: Path):
    fog = folder / "mnist_c" / "fog"
    fog.mkdir(parents=True)
    images, labels = np.zeros((40, 28, 28, 1), np.uint8), np.arange(40) % 10
    images[:, ::2] = 200

    def loaded(name, content):
        for part in ("train", "test"):
            np.save(fog / f"{part}_images.npy", images)
            np.save(fog / f"{part}_labels.npy", labels)
        (fog / f"{name}.npy").write_bytes(content)
        return load_task("mnist-c:fog", root=folder, device="cpu")

    for name, start in headers().items():
        yield f"MNIST-C images, {name}", lambda s=start: loaded("train_images", s)
    for what, a in {"floats": images / 255, "no channel last": images[:, None], "two": images[:2],
                    "wide": images.repeat(2, 2)}.items():
        raw = io.BytesIO()
        np.save(raw, a)
        yield f"MNIST-C images, {what}", partial(loaded, "train_images", raw.getvalue())
    for what, a in {"floats": labels + 0.5, "large": labels + 1, "text": labels.astype(str),
                    "short": labels[:9]}.items():
        raw = io.BytesIO()
        np.save(raw, a)
        yield f"MNIST-C labels, {what}", partial(loaded, "test_labels", raw.getvalue())


def idx_cases(folder: Path, rng):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sizes = {"train-images-idx3-ubyte": 47_040_016, "t10k-labels-idx1-ubyte": 10_008}

    def loaded(name, make):
        shutil.rmtree(raw)
        raw.mkdir()
        make(raw / name)
        with patch.dict(os.environ, BIOPLAUS_DATA=str(folder)): return load_task("mnist", device="cpu")

    def sparse(size):
        def make(f):
            with f.open("wb") as open_: open_.truncate(size)
        return make

    for name, size in sizes.items():
        for what, n in {"cut": size - 1, "long": size + 1, "100 GB": 100 * 10**9, "zeros": size, "empty": 0}.items():
            yield f"{name}, {what}", lambda n=n, f=name: loaded(f, sparse(n))
        yield f"{name}, a folder", lambda f=name: loaded(f, Path.mkdir)
        start = struct.pack(">IIII", 2051, 2**31, 28, 28)
        yield f"{name}, a header of 2³¹", lambda f=name: loaded(f, lambda p: p.write_bytes(start + rng.bytes(1000)))


# ---- data -----------------------------------------------------------------------------------------------------------

DOTS = np.random.default_rng(0).integers(0, 256, (60, 4, 4)).astype(np.uint8)
SIGNS = np.array(["NA", "null", "x"])[np.arange(60) % 3]


def texts() -> dict[str, str | bytes]:
    "Tables that can't be read, by what is wrong."
    rows = [f"{s},{','.join(map(str, d.ravel()[:4]))}" for d, s in zip(DOTS, SIGNS)]
    head, body = "label,a,b,c,d", "\n".join(rows)
    cell = lambda text: "\n".join([head, *rows[:7], f"x,{text},1,2,3", *rows[7:]])
    pixels = ("", "x", "NA", "nan", "inf", "-1", "1e400", "1,5", "300", "0x10", "1 2")
    found = {f"a pixel {t!r}": cell(t) for t in pixels}
    labels = ("", " ", '"', "one of a kind", "\x07", "x" * 501)
    found |= {f"label {t!r}": f"{head}\n{body}\n{t},1,2,3,4\n" for t in labels}
    whole, numbered = f"{head}\n{body}", "\n".join(f"{i},{r}" for i, r in enumerate(rows))
    found |= {"no header": body, "nothing": "", "header alone": head, "blank lines": "\n\n\n",
              "one column": "label\n1\n2", "no label": whole.replace("label", "kind"),
              "spaces": whole.replace(",", " "), "two labels": f"label,{head}\n{body}",
              "an index": f",{head}\n{numbered}", "one label": f"{head}\n" + "x,1,2,3,255\n" * 60,
              "UTF-16": whole.encode("utf-16"), "Latin 1": whole.replace("null", "né").encode("latin-1"),
              "zeros": b"\0" * 1000, "long lines": f"{whole}\nx,1,2,3,4,5", "short lines": f"{whole}\nx,1",
              "quotes": f'{head}\n"{body}', "columns without end": "label," + "," * 100_000,
              "semicolons and decimal commas": whole.replace(",", ";").replace("1", "1,0"),
              "JSON": '{"label": [1], "a": [2]}', "HTML": "<table>\n<tr>",
              "dark": f"{head}\n" + "\n".join(f"{s},1,2,3,9" for s in SIGNS),
              "masks": f"{head}\n" + "\n".join(f"{s},-1,0,1,0" for s in SIGNS)}
    return found


def arrays() -> dict[str, dict]:
    "Archives that hold something else, by what is wrong."
    x, y, n = DOTS, SIGNS, len(DOTS)
    odd = {"objects": y.astype(object), "halves": np.arange(n) / 2, "NaN": np.full(n, np.nan), "short": y[1:],
           "none": y[:0], "one": np.zeros(n), "each its own": np.arange(n), "two columns": np.eye(n)[:, :3],
           "bytes": y.astype("S4"), "dates": np.full(n, "2020", "M8[Y]"), "complex": np.arange(n) + 1j,
           "empty": np.array([""] * n)}
    found = {f"labels {k}": dict(x=x, y=v) for k, v in odd.items()}
    odd = {"NaN": x * np.nan, "negative": x - 300.0, "16 bits": x.astype("u2") * 256, "large": x * 2.0,
           "text": x.astype(str), "none": x[:0], "no pixels": x[:, :0], "flat": x.ravel(),
           "five axes": x[..., None, None],
           "colours": np.stack([x, x[::-1], x], -1), "colours first": np.stack([x, x[::-1], x], 1),
           "dark": x // 20, "masks": x // 200, "two channels": np.stack([x, x], -1), "objects": x.astype(object),
           "complex": x + 1j}
    found |= {f"images {k}": dict(x=v, y=y) for k, v in odd.items()}
    train = dict(x_train=x, y_train=y)
    return found | {"no labels": dict(x=x), "no images": dict(y=y), "two pairs": dict(x=x, y=y, images=x, labels=y),
                    "x and X": dict(x=x, X=x, y=y), "test alone": dict(x_test=x, y_test=y), "nothing": {},
                    "strange test": train | dict(x_test=x, y_test=np.char.add(y, "!")),
                    "other size": train | dict(x_test=x[:, :3], y_test=y),
                    "numbers": train | dict(x_test=x, y_test=np.arange(60) % 3)}


def spoil(folder: Path) -> dict[str, callable]:
    "What may be wrong with a folder of pictures."
    from PIL import Image
    a, put = folder / "NA", lambda name, picture, **how: picture.save(folder / "NA" / name, **how)
    grey = Image.fromarray(DOTS[0])
    clear = Image.merge("LA", (grey, grey))
    frames = dict(save_all=True, append_images=[Image.new("L", (4, 4), 255)])
    files = {"text": lambda: (a / "notes.txt").write_text("hello"), "nothing": lambda: (a / "b.png").touch(),
             "no picture": lambda: (a / "b.png").write_text("hello"), "a folder": lambda: (a / "more").mkdir(),
             "a table": lambda: (a / "a.csv").write_text("label,a\n1,2"), "a pipe": lambda: os.mkfifo(a / "b.png"),
             "cut": lambda: (a / "b.png").write_bytes((a / "0.png").read_bytes()[:50]),
             "a dead link": lambda: (a / "b.png").symlink_to("nowhere"),
             "a device": lambda: (a / "b.png").symlink_to("/dev/zero"),
             "an empty class": lambda: (folder / "none").mkdir(),
             "one of a kind": lambda: (folder / "rare").mkdir() or grey.save(folder / "rare" / "1.png"),
             "train beside classes": lambda: (folder / "train").mkdir()}
    return files | {"larger": lambda: put("b.png", Image.new("L", (5, 4))), "see-through": lambda: put("b.png", clear),
                    "colour": lambda: put("b.png", Image.new("RGB", (4, 4), "red")),
                    "16 bits": lambda: put("b.png", Image.fromarray(DOTS[0].astype("u2") * 200)),
                    "colour, CMYK": lambda: put("b.jpg", Image.new("CMYK", (4, 4), 77)),
                    "film": lambda: put("b.gif", grey, **frames),
                    "floats": lambda: put("b.tif", Image.new("F", (4, 4)))}


def data_cases(folder: Path, rng):
    def table(content, name="a.csv", **how):
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_task(Path(name).absolute(), device="cpu", **how)

    def archived(parts):
        archive(Path("a.npz"), parts)
        return load_task("a.npz", device="cpu")

    def shown(change):
        from PIL import Image
        home = Path(tempfile.mkdtemp(dir=folder)) / "signs"
        for i, (d, s) in enumerate(zip(DOTS, SIGNS)):
            (home / s).mkdir(parents=True, exist_ok=True)
            Image.fromarray(d).save(home / s / f"{i}.png")
        spoil(home)[change]()
        return load_task(home, device="cpu")

    for name, text in texts().items(): yield f"table, {name}", partial(table, text)
    right = lambda name: lambda found: "colour" in name and len(found.shape) == 3
    for name, parts in arrays().items(): yield f"archive, {name}", partial(archived, parts), right(name)
    for name, start in headers().items(): yield f"archive, {name}", partial(archived, dict(x=start, y=SIGNS))
    for name in spoil(folder): yield f"pictures, {name}", partial(shown, name), right(name)
    yield from damaged_data(folder, rng)
    for path in ("nowhere.csv", "", "a\0.csv", "n" * 300 + ".csv", "/dev/null/x", "/dev/zero", folder,
                 "~nobody-of-that-name/x", "a.csv:lable=x", "a.csv:test=0", "a.csv:test=x", "a.csv:white=0",
                 "a.csv:few=0",
                 "a.csv:label=",
                 "a.csv:sha256=0", "file:", "file", 7, None, ("a.csv",),
                 "a.xlsx", "http://example.org/a.csv"):
        Path("a.csv").write_text("label,a,b\n" + "\n".join(f"{s},0,255" for s in SIGNS))
        yield f"path {str(path)[:40]!r}", lambda p=path: load_task(p, device="cpu")
    yield "label= without a table", lambda: load_task("digits", label="x")


def damaged_data(folder: Path, rng):
    "Good files with some bytes changed: refused, or still a task."
    flat = pd.DataFrame(DOTS.reshape(60, 16), columns=[f"p{i}" for i in range(16)]).assign(label=SIGNS)
    np.savez(folder / "d.npz", x=DOTS, y=SIGNS)
    flat.to_csv(folder / "d.csv", index=False)
    flat.to_parquet(folder / "d.parquet")
    for kind in ("npz", "csv", "parquet"):
        whole = (folder / f"d.{kind}").read_bytes()
        for i in range(30):
            damaged = bytearray(whole[:len(whole) * (i + 1) // 12] if i < 11 else whole)
            for k in rng.integers(0, len(damaged), i % 12 * (i >= 11)): damaged[k] = rng.integers(256)
            def load(kind=kind, damaged=bytes(damaged)):
                (folder / f"e.{kind}").write_bytes(damaged)
                return load_task(folder / f"e.{kind}", device="cpu")
            yield f"{kind}, damaged, {i}", load, lambda found: isinstance(found, Task)


# ---- commands -------------------------------------------------------------------------------------------------------

TRAIN = ("train", "backprop", "--task", "digits", "--epochs", "1", "--device", "cpu")
STUDY = ("study", "--rules", "backprop", "--tasks", "digits", "--classes", "2", "--hidden", "5", "--seeds", "2",
         "--epochs", "1",
         "--device", "cpu")
INTS = ("0", "-1", "1.5", "x", "", "1e3", "nan", "99999999999999999999999", "1" * 5000)
WORDS = ("", "frog", "x" * 10_000, "\udcff", "a,b", "[" * 200, "../..")


class Ended(Exception):
    "A command line has ended with an exit code that says that it failed, after one line."


def command(*argv) -> str:
    "Standard output of a command, run in this process; what it refuses is a `BadInput`, as from Python."
    out, err = io.StringIO(), io.StringIO()
    line = patch.object(sys, "argv", ["bioplaus", *map(str, argv)])
    with line, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: cli.main()
        except SystemExit as e: code = e.code
        else: code = 0
    said = err.getvalue().strip()
    if "Traceback" in said or "That is a fault of bioplaus" in said: raise Ended(said[-300:])
    if code not in (0, None): raise BadInput(said.splitlines()[-1][:1000] if said else "")
    return out.getvalue()


def bad_options() -> dict[tuple, dict]:
    "Values that must be refused, by command and option."
    counts = dict.fromkeys(("--epochs", "--seeds", "--batch-size"), INTS)
    seeds = INTS[1:]
    common = {"--optimizer": WORDS, "--act": WORDS, "--net": WORDS, "--normalise": WORDS,
              "--device": (*WORDS, "meta", "cuda:99"),
              "--augment": ("", "frog", "gaussian:x", "gaussian:-1", "gaussian@9", "weight-noise:0.3", "fgsm:2"),
              "--lr": ("0", "-1", "nan", "inf", "x", "", "1e400", "0.1,0.1,0.1", "0.1,", "1" * 5000, "1j")}
    train = counts | common | {
        "--seed": seeds, "--init": WORDS, "--task": (*WORDS, "mnist-c:frog", *TASKS),
                               "--classes": (*INTS, "3,3", "3,12", "1,2,"),
        "--sizes": ("", "64", "64,0,10", "64,-3,10", "63,5,10", "64,5,9", "x", "64,,10", "64,1e3,10", f"64,{10**12},10",
                    f"64,{10**23},10", ",".join(["64", *["100000"] * 20, "10"])),
        "--set": ("net=1", "name=1", "loss=frog", "loss=1", "loss", "=", "x=1", "", "loss=None", "[" * 1000, "loss=(",
                  "__class__=1"),
        "--out": ("", "/dev/null/x", "a-file", "n" * 300, "/proc/x", "run")}
    noise = ("gaussian:", "gaussian:x", "gaussian:-1", "gaussian:nan", "gaussian:inf", "gaussian@6", "gaussian@",
             "fog:0.3:1",
             "frog", "", "gaussian:0.3@2", "shot:0.001", "fgsm:2", ":0.3", "x" * 10_000, "\udcff")
    study = counts | common | {
        "--rules": (*WORDS[:4], "backprop,backprop", "backprop:lr=x", "backprop:lr=-1", "backprop:frog=1",
                    "backprop:loss=squared,loss=squared",
                    "backprop:net=1", "backprop:loss", "null"),
        "--tasks": (*WORDS[:4], "digits,digits", "adversarial", *TASKS),
                               "--classes": ("", "1", "99", "x", "2,2", "-1", "1e1"),
        "--hidden": ("", "0", "x", "-1", "5,", str(10**12)), "--images": ("0", "-1", "x", ""), "--perturb": noise,
                               "--watch": noise[:9],
        "--mediators": WORDS[:4], "--schedule": WORDS, "--workers": INTS, "--scheduler": ("",),
                               "--out": ("", "/dev/null/x", "a-file"),
        "--set": ("frog=1", "loss", "")}
    return {TRAIN: train, STUDY: study}


TASKS = ("digits:few=0", "digits:few=x", "digits:few", "digits:late=77", "digits:imbalance=2", "digits:few=3,few=4",
         "digits:frog=1",
         "digits:few=1000000000000000000000", "digits:few=-1")


def other_lines(folder: Path) -> list[tuple]:
    "Command lines that must be refused, beyond one bad value."
    ev, data = ("evaluate", "run"), ("data", "digits")
    adv = ("data", "adversarial", "--from", "run", "--out", "made.npz")
    lines = [("frog",), ("train",), ("trian", "backprop"), ("train", "backprop", "--epoch", "1"), ("evaluate",),
             ("data", "frog"),
             ("data", "adversarial"), ("data", "mnist-c"), (*data, "--from", "run"), (*data, "--network", "1"),
             (*data, "--out", "."), (*data, "--out", ""), (*data, "--out", "x.png"), (*data, "--out", "/dev/null/x"),
             ("report", "nowhere"), ("report", ""), ("report", "a-file"), ("report", "run"),
             ("bench", "--rules", "frog"),
             ("bench", "--frog"), ("rules", "x"), ("train", ""), ("train", "\udcff"), ("train", "x" * 10_000),
             ("train", "backprop:loss=squared"), ("train", "../.."), (*TRAIN, "--json=1"), (*TRAIN, "extra")]
    lines += [(*data, "--seed", v) for v in ("-1", "4294967296", "x", "", str(10**30))]
    lines += [(*data, "--classes", v) for v in ("1", "11", "x", "", "3,3")]
    lines += [(*data, "--normalise", v) for v in WORDS[:3]]
    made = {"--eps": ("-1", "2", "nan", "x", "", "inf"), "--attack": WORDS, "--network": ("7", "-1", "x"),
            "--seed": ("-1", "x"), "--device": ("meta", ""), "--classes": ("3",)}
    lines += [(*adv, o, v) for o, values in made.items() for v in values]
    lines += [("data", "adversarial", "--from", f, "--out", "m.npz") for f in ("", "nowhere", "a-file", "study")]
    names = ("frog", "gaussian:x", "gaussian:-1", "fog@9", "", "gaussian:0.3,frog", "\udcff", "fgsm")
    lines += [(*ev, "--noise", v) for v in names]
    lines += [(*ev, "--attacks", v) for v in ("frog", "fgsm:2", "fgsm:x", "", "fog")]
    lines += [(*ev, "--perturb", v) for v in ("frog", "gaussian:x", "gaussian@9", "", "gaussian:-1", "fgsm:9")]
    suite = (*ev, "--noise", "gaussian:0.3")
    lines += [(*suite, "--images", v) for v in ("0", "-1", "x", "", "1.5")]
    lines += [(*suite, "--attack-images", "0"), (*ev, "--images", "5")]
    lines += [(*suite, "--out", v) for v in ("s.png", "s.PNG", ".", "", "/dev/null/x", "n" * 300 + ".csv",
                                             "run/checkpoint.safetensors")]
    lines += [(*suite, "--perturb", "gaussian:0.1"), (*ev, "--seed", "-1"), (*ev, "--seed", str(2**40))]
    lines += [(*ev, "--device", "meta")]
    lines += [(*ev, "--task", v) for v in ("frog", "", "mnist-mini", "digits:few=0")]
    lines += [(*ev, "--adversarial", v) for v in ("nowhere", "a-file", "run", "", ".")]
    lines += [("evaluate", v) for v in ("", "nowhere", "a-file", "study", ".", "run/history.csv",
                                        "~nobody-of-that-name/x")]
    lines += [("show", v) for v in ("", "nowhere", "a-file", "study", ".", "run/history.csv", "~nobody-of-that-name/x")]
    find = ("search", "backprop", "--task", "digits", "--epochs", "1")
    lines += [("search",), ("search", "frog"), (*find, "--lr", "0.1"), (*find, "--hidden", "5", "--hidden", "6"),
              (*find, "--classes", "99"), (*find, "--classes", "x"), (*find, "--seeds", "0"),
              (*find, "--out", "/dev/null/x"), (*find, "--sizes", "64,5,9"), (*find, "--sizes", "64"),
              (*find, "--hidden", "5", "--sizes", "64,5,10")]
    lines += [(*TRAIN, "--label", "x"), (*STUDY, "--label", "x"), (*data, "--label", "x"), (*ev, "--label", "x"),
              (*TRAIN, "--hidden", "5", "--sizes", "64,5,10"), (*TRAIN, "--hidden", "5", "--hidden", "6"),
              (*TRAIN, "--tasks", "digits"), (*TRAIN, "--lr", "1/0"), (*TRAIN, "--lr", "1/x"), (*adv, "--eps", "1/0"),
              (*STUDY, "--sizes", "64,5,9"), (*STUDY, "--perturb", "gaussian:1/0"),
              (*STUDY, "--perturb", "gaussian,0.1"), (*STUDY, "--perturb", "0.1"),
              (*STUDY, "--task", "a-file"), (*STUDY, "--task", "nowhere.csv")]
    lines += [("bench", "--replicas", v) for v in ("0", "-1", "x", "", "1,", str(10**12))]
    lines += [("bench", "--turns", v) for v in INTS]
    once = {"--epochs": "1", "--lr": "0.1", "--seeds": "1", "--out": "b", "--task": "digits", "--device": "cpu",
            "--act": "tanh"}
    lines += [(*TRAIN, o, v, o, v) for o, v in once.items()] + [(*TRAIN, "--bias", "--no-bias")]
    return lines + [(*TRAIN, "--set", "loss=squared", "--set", "loss=squared"), (*STUDY, "--lr", "0.1", "--tune"),
                    (*STUDY, "--hidden", "5", "--hidden", "5"), (*STUDY, "--rules", "backprop"),
                    (*STUDY, "--net", "mlp", "--net", "mlp")]


def replaced(line: tuple, option: str, value: str) -> tuple:
    "The command line with another value of an option, or with the option behind."
    if option not in line: return *line, option, value
    i = line.index(option)
    return *line[:i + 1], value, *line[i + 2:]


def command_cases(folder: Path, rng):
    Path("a-file").write_text("no run\n")
    command(*TRAIN, "--out", "run", "--seeds", "2")
    for line, options in bad_options().items():
        for option, values in options.items():
            for v in values: yield " ".join((line[0], option, v)), partial(command, *replaced(line, option, v))
    Path("study").mkdir()
    for line in other_lines(folder): yield " ".join(line), lambda l=line: command(*l)
    left = lambda found: sorted(p.name for p in Path().iterdir() if p.name not in ("a-file", "run", "study", "home"))
    yield "nothing is left of what was refused", lambda: left(0), lambda names: not names
    yield from right_lines(folder)


def right_lines(folder: Path):
    "Command lines with streams or folders of their own, which must be done right."
    home = folder / "home"
    home.mkdir(exist_ok=True)

    def at_home():
        with patch.dict(os.environ, HOME=str(home)): return command(*TRAIN, "--out=~/r") and (home / "r").is_dir()

    def shell(line: str, **env) -> str:
        run = f"{sys.executable} -m bioplaus.cli {line}"
        done = subprocess.run(["bash", "-c", run], capture_output=True, env=os.environ | env, timeout=10 * SECONDS)
        return f"{done.returncode} {done.stdout.decode(errors='replace')} {done.stderr.decode(errors='replace')[-300:]}"

    train = " ".join(TRAIN)
    fine = lambda said: said.startswith("0 ") and "Traceback" not in said and "Error" not in said
    yield "a folder under ~", at_home, bool
    (home / "mine.csv").write_text("label,a,b\n" + "\n".join(f"{s},{i},255" for i, s in enumerate(SIGNS)))
    mine = lambda *more: command("train", "backprop", "--task=~/mine.csv", "--epochs", "1", "--device", "cpu", *more)
    def at_home_data():
        with patch.dict(os.environ, HOME=str(home)): return mine()
    yield "a table under ~", at_home_data, lambda said: "mine.csv, 3 classes" in said
    for said in ({"--optimiser": "adam"}, {"--normalize": "unit"}, {"--sizes": "64,6,10"}, {"--hidden": "6"},
                 {"--lr": "1/10"}, {"--schedule": "cosine"}):
        yield f"train {said}", lambda s=said: command(*TRAIN, *next(iter(s.items()))), lambda out: "digits" in out
    for kind in ("ascii", "cp1252", "utf-16"):
        yield f"{kind}: help", lambda k=kind: shell("study --help", PYTHONIOENCODING=k), lambda s: s.startswith("0 ")
    yield "ascii: rules", lambda: shell("rules", PYTHONIOENCODING="ascii"), fine
    yield "cp1252: train", lambda: shell(train, PYTHONIOENCODING="cp1252"), fine
    yield "ascii: JSON", lambda: shell("rules --json", PYTHONIOENCODING="ascii"), lambda s: fine(s) and "\\u" in s
    for name, end in {"closed": "2>&-", "full": "2>/dev/full"}.items():
        kept = lambda said, n=name: fine(said) and load_run(f"err-{n}").epoch == 1
        yield f"standard error {name}", lambda e=end, n=name: shell(f"{train} --out err-{n} {e}"), kept
    full = lambda said: said.startswith("1 ") and "error: " in said and "Traceback" not in said
    yield "standard output full", lambda: shell("rules >/dev/full"), full
    yield "standard output closed", lambda: shell("rules >&-"), fine


# ---- calls ----------------------------------------------------------------------------------------------------------

def bad_images(x: torch.Tensor) -> dict:
    "Images that break the contract, by what is wrong."
    return {"bytes": (255 * x).byte(), "whole numbers": (255 * x).long(), "bools": x > 0.5, "complex": x.cfloat(),
            "0 to 255": 255 * x,
            "normalised": (x - x.mean()) / x.std(), "NaN": x * torch.nan, "infinite": x / 0, "none": x[:0],
            "negative": -x - 0.1,
            "narrow": x[:, :5]}


def users_of_images(run, y) -> dict:
    "Whoever takes images, by name."
    rule = run.rule
    three = lambda x: x.expand(2, *x.shape)
    return {"evaluate": lambda x: evaluate(rule, x, y), "run.evaluate": lambda x: run.evaluate(x, y),
            "evaluate, noise": lambda x: evaluate(rule, x, y, "gaussian:0.1"), "predict": rule.predict,
            "rule.activities": rule.activities,
            "activities": lambda x: activities(rule, x), "taught": lambda x: activities(rule, x, y=y, phase="taught"),
            "FGSM": lambda x: FGSM(0.1)(rule, x, y), "PGD": lambda x: PGD(0.1)(rule, x, y),
            "worst_case": lambda x: worst_case(rule, x, y, [FGSM(0.1)]),
            "adversarial": lambda x: make_adversarial(run, x, y),
            "gradient": lambda x: input_gradient(rule, three(x), y),
            "blind_share": lambda x: blind_share(rule, x, y), "mediators": lambda x: mediators(rule, x, y)}


def task_calls(x, y):
    "Bad data for a `Task`."
    make = Task.from_tensors
    images = {"complex": x.cfloat(), "text": np.full(x.shape, "a"), "0 to 255": 255 * x, "NaN": x * np.nan,
              "none": x[:0], "number": 0.5,
              "objects": np.array([{}] * len(x)), "dates": np.full(x.shape, "2020", "M8[Y]"), "same": 0 * x,
              "masks": (x > 0.5).byte(),
              "sparse": x.to_sparse(), "ragged": [[0.1], [0.1, 0.2]] * 100, "None": None, "huge": x.double() * 1e300,
              "records": pd.DataFrame({"a": ["b"] * len(x)})}
    labels = {"reals": torch.rand(len(y)), "NaN": y * float("nan"), "short": y[1:], "none": y[:0], "one": 0 * y,
              "two": torch.eye(10)[y],
              "complex": y.cfloat(), "mixed": [1, "a"] * (len(y) // 2), "None": [None] * len(y),
              "surrogates": ["\udcff", "a"] * (len(y) // 2),
              "empty names": ["", "a"] * (len(y) // 2), "dates": np.full(len(y), "2020", "M8[Y]"),
              "each its own": torch.arange(len(y))}
    for k, v in images.items(): yield f"from_tensors, images {k}", lambda v=v: make(v, y, x, y)
    for k, v in labels.items(): yield f"from_tensors, labels {k}", lambda v=v: make(x, v, x, v)
    settings = [dict(name=n) for n in ("", "\udcff", "a\nb", 7, None, "x" * 501)] + [dict(validation=v)
        for v in (0, 1, -1, 2, float("nan"), "x")]
    settings += [dict(seed=s) for s in (-1, 2**32, 1.5)] + [dict(normalise="z"), dict(device="meta"), dict(x_valid=x),
                                                            dict(y_valid=y)]
    for s in settings: yield f"from_tensors, {s}", lambda s=s: make(x, y, x, y, **s)
    task = make(x, y, x, y)
    for k, v in bad_images(x).items(): yield f"Task, images {k}", lambda v=v: Task(**vars(task) | {"x_test": v})
    loads = [dict(classes=c) for c in (1, 11, -1, [3, 3], [3, 12], "3", 2.5, [], True)] + [dict(seed=2**32),
        dict(validation=2), dict(root="x")]
    for s in loads: yield f"load_task, {s}", lambda s=s: load_task("digits", **s)


def setting_calls(task, run):
    "Sizes, names and settings that can't be."
    net = lambda **s: MLP((64, 8, 10), **s)
    for sizes in ((64,), (), (64, 0, 10), (64, -1), (64, 1.5), (64, "x"), (64, 10**12, 10), (64, 10**23, 10),
                  (10**6,) * 3, (64, True)):
        yield f"MLP {sizes}", lambda s=sizes: MLP(s)
    for s in (dict(replicas=0), dict(replicas=10**9), dict(replicas=1.5), dict(seed=-1), dict(seed=2**32),
              dict(seed=[0, 1]), dict(act="x"), dict(init="x")):
        yield f"MLP {s}", lambda s=s: net(**s)
    for s in (dict(loss="x"), dict(loss=1), dict(frog=1), dict(net=1), dict(name=1)):
        yield f"make_rule {s}", lambda s=s: make_rule("backprop", net(), **s)
    for s in [dict(epochs=e) for e in (0, -1, 1.5, 10**12, True)] + [dict(batch_size=b) for b in (0, 10**23)] + [
              dict(lr=r) for r in (0, -1, float("nan"), "x", [1, 2, 3], [], torch.zeros(1), torch.ones(3), 10**400)] + [
              dict(seed=-1), dict(seed=2**32), dict(optimizer="x"), dict(schedule="x"), dict(augment="frog"),
                  dict(augment=len), dict(out=""), dict(out="a\0b")]:
        yield f"fit {s}", lambda s=s: fit(make_rule("backprop", net()), task, **dict(epochs=1) | s, progress=False)
    for spec in ("", "frog", "gaussian:", "gaussian:x", "gaussian:nan", "gaussian@9", "gaussian:0.1:2", "fog:2",
                 "shot:0.001", "\udcff", "x" * 10**5):
        yield f"perturbation {spec[:20]!r}", lambda s=spec: perturbation(s)
    for s in (dict(images=0), dict(attack_images=0), dict(noise="frog"), dict(attacks="fog"),
              dict(eps=(-1,), noise=None), dict(eps=(), noise=None),
              dict(severities=(9,), attacks=None), dict(severities=(), attacks=None), dict(seed=-1)):
        yield f"robustness_suite {s}", lambda s=s: robustness_suite(run, task, progress=False, **s)
    for path in ("", "nowhere", "a\0b", "/dev/null"):
        for f in (load_run, load_study, write_report): yield f"{f.__name__} {path!r}", lambda f=f, p=path: f(p)
    yield "make_network", lambda: make_network("frog", (64, 10))
    yield "corrupted by an attack", lambda: corrupted(task.x_test, "fgsm:0.1")
    yield "search_lr", lambda: search_lr("backprop", task, [0.1, -1])


def study_calls(task):
    "Comparisons that can't be made: said before anything is trained."
    settings = [dict(seeds=s) for s in (0, -1, 1.5, 10**9)] + [dict(perturbations=[p])
                                                               for p in ("frog", "gaussian:x", "fog:9")] + [
        dict(epochs=10**12), dict(images=0), dict(watch=["frog"]), dict(mediators=["frog"]), dict(hidden=(0,)),
            dict(hidden=(10**12,)), dict(lr={"x": 1}),
        dict(classes=2), dict(frog=1), dict(out=""), dict(workers=0), dict(act="x"), dict(device="meta"),
            dict(optimizer="x"), dict(batch_size=0)]
    for s in settings: yield f"compare {s}", lambda s=s: compare(["backprop"], task,
                                                                 **dict(epochs=1, seeds=2, progress=False) | s)
    for rules in ([], ["frog"], ["backprop"] * 2, ["backprop:loss=x"], ["backprop:lr=-1"], ["backprop:net=1"]):
        yield f"compare {rules}", lambda r=rules: compare(r, task, progress=False)
    features = Task.from_tensors(torch.rand(60, 13), torch.arange(60) % 2, name="features")
    for p in ("fog:0.3", "fgsm:0.1"):
        yield f"compare, {p} on features", lambda p=p: compare(["backprop"], features, perturbations=[p], epochs=10**6,
                                                               progress=False)


def look_calls(run, x, y):
    "Looks into layers that are flat, lost, small or too many."
    a = torch.rand(2, 40, 6)
    layers = {"flat": a * 0 + 1, "NaN": a * torch.nan, "none": a[:, :0], "one image": a[:, :1], "four axes": a[None],
              "no units": a[..., :0]}
    for k, v in layers.items():
        for f in (rdm, lambda a: tsne(a, perplexity=5), pca, lambda a: knn_accuracy(a, y[:a.shape[-2]])):
            yield f"layer {k}", lambda f=f, v=v: f(v), lambda found, k=k: k == "one image" and len(found) == 1
    yield "t-SNE of one unit", lambda: tsne(a[..., :1], perplexity=5)
    yield "RDMs of 10⁸ images", lambda: rdm(torch.zeros(1, 1).expand(2, 10**8, 1))
    for p in (0, -1, 100, float("nan"), "x"): yield f"perplexity {p}", lambda p=p: tsne(a, perplexity=p)
    for s in (dict(layers=7), dict(layers="frog"), dict(phase="x"), dict(draws=0), dict(draws=10**9),
              dict(perturb="gaussian:0.1"), dict(y=y[1:])):
        yield f"activities {s if 'y' not in s else 'labels'}", lambda s=s: activities(run.rule, x, **s)


def call_cases(folder: Path, rng):
    with contextlib.redirect_stderr(io.StringIO()):
        task = load_task("digits", device="cpu")
        run = fit(make_rule("backprop", MLP((64, 8, 10), replicas=2)), task, epochs=1, progress=False, warn=False)
    x, y = task.x_test[:200], task.y_test[:200]
    for (what, images), (who, use) in itertools.product(bad_images(x).items(), users_of_images(run, y).items()):
        yield f"{who}, images {what}", lambda u=use, i=images: u(i)
    labels = {"reals": y.float(), "large": y + 10, "negative": y - 10, "short": y[1:], "none": y[:0], "bools": y > 4}
    for what, wrong in labels.items():
        for who, use in users_of_images(run, wrong).items():
            if who not in ("predict", "activities",
                           "rule.activities"): yield f"{who}, labels {what}", lambda u=use: u(x)
    yield from task_calls(x, y)
    yield from setting_calls(task, run)
    yield from study_calls(Task.from_tensors(x, y, x, y))
    yield from look_calls(run, x, y)


# ---- plugins --------------------------------------------------------------------------------------------------------

RULE = """from bioplaus.rule import *
@register('twin', equation='e', sees='pre', lr=0.1)
def twin(net):
    'Twin.'
    return Rule(net, Backprop(), Delta())
"""
NOISE = """from bioplaus.noise import Corruption
class Haze(Corruption, name='haze', unit='u', levels=(1, 2, 3, 4, 5), needs_shape=False):
    def corrupt(self, x, draw): return x
"""
NETWORK = """from bioplaus.core import register_network
@register_network('woven')
def woven(sizes, **settings):
    'Woven.'
"""
TASK = """from bioplaus.core import register_task
@register_task('void')
def void():
    'Void.'
"""
LISTED = {  # group, source of the module, whether its name must be said when names are listed
    "a syntax error": ("rules", RULE + "def (:\n"), "a computed rate": ("rules",
                                                                        "RATE = 0.1\n" + RULE.replace("lr=0.1",
                                                                            "lr=RATE")),
    "an unknown field": ("rules", RULE.replace("sees='pre'", "colour='red'")),
          "not UTF-8": ("rules", b"# caf\xe9\n" + RULE.encode()),
    "missing": ("rules", None), "nothing in it": ("rules", "x = 1\n"),
          "a rate that is a word": ("rules", RULE.replace("lr=0.1", "lr='fast'")),
    "a name in two lines": ("rules", RULE.replace("'twin'", "'tw\\nin'")),
          "a name that is a number": ("rules", RULE.replace("'twin'", "7")),
    "no name": ("rules", RULE.replace("'twin', equation='e', sees='pre', lr=0.1", "")),
          "zeros": ("rules", b"\0" * 100 + RULE.encode()),
    "brackets": ("rules", RULE + "x = " + "(" * 10_000 + ")" * 10_000),
          "a taken name": ("rules", RULE.replace("'twin'", "'backprop'")),
    "noise, a syntax error": ("perturbations", NOISE + "def (:\n"), "network, missing": ("networks", None),
    "task, a name of its time": ("tasks", TASK.replace("'void'", "NAME")),
}
USED = {  # group, source, how it is used
    "raises on import": ("rules", RULE + "1 / 0\n", lambda: make_rule("twin", MLP((64, 10)))),
    "ends Python": ("rules", RULE + "import sys; sys.exit()\n", lambda: make_rule("twin", MLP((64, 10)))),
    "raises when made": ("rules", RULE.replace("    return", "    1 / 0\n    return"),
                         lambda: make_rule("twin", MLP((64, 10)))),
    "makes no rule": ("rules", RULE.replace("return Rule", "return str; Rule"),
                      lambda: make_rule("twin", MLP((64, 10)))),
    "network that raises": ("networks", NETWORK + "    1 / 0\n", lambda: make_network("woven", (64, 10))),
    "network that is none": ("networks", NETWORK + "    return 5\n", lambda: make_network("woven", (64, 10))),
    "task that raises": ("tasks", TASK + "    1 / 0\n", lambda: load_task("void")),
        "task that is none": ("tasks", TASK + "    return 5\n", lambda: load_task("void")),
    "task of text": ("tasks", TASK + "    return (['a'], [0]), (['b'], [1])\n", lambda: load_task("void")),
    "noise without a unit": ("perturbations", NOISE.replace(" unit='u',", ""), lambda: perturbation("haze:1")),
    "noise that raises on import": ("perturbations", NOISE + "1 / 0\n", lambda: perturbation("haze:1")),
}


@contextlib.contextmanager
def installed(folder: Path, group: str, module: str, source, points: bytes | None = None):
    "A package whose entry point names this module, for the time being."
    folder.mkdir()
    if source is not None: (folder / f"{module}.py").write_bytes(source if isinstance(source, bytes)
                                                                 else source.encode())
    info = folder / f"{module}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_bytes(points or f"[bioplaus.{group}]\nx = {module}\n".encode())
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try: yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(module, None)
        for book in core.BOOKS.values():
            for name in [n for n, (e, _) in book.loaded.items() if e.module == module]: del book.loaded[name]


def rest_works(module: str, use=None):
    "With a broken package: whether it is named, and everything else goes on; `use` must be refused, naming it."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        names = {*core.cards(), *core.TASKS, *core.NETWORKS, *known()}
        make_rule("backprop", MLP((64, 10)))
        if core.find_rule("backprop").__module__ != "bioplaus.rule": return "another backprop"
    if not {"backprop", "digits", "mlp", "fog", "pgd"} <= names: return "the rest is gone"
    if use is None: return "" if any(module in str(w.message) for w in said) else "nobody was told"
    try: return f"{use()!r} is taken"
    except (BadInput, RunFailed) as e: return "" if any(n in str(e)
                                                        for n in (module, "void", "twin",
                                                                  "woven")) else f"{e} names nobody"


def plugin_cases(folder: Path, rng):
    fine = lambda why: why == ""
    def case(name, group, source, use=None, points=None):
        module = "plug_" + "".join(c if c.isalnum() else "_" for c in name)
        def tried():
            with installed(folder / module, group, module, source, points): return rest_works(module, use)
        return name, tried, fine
    for name, (group, source) in LISTED.items(): yield case(name, group, source)
    for name, (group, source, use) in USED.items(): yield case(name, group, source, use)
    yield case("a list that is not UTF-8", "rules", RULE, points=b"[bioplaus.rules]\nx = caf\xe9\n")
    yield case("a point that is no module", "rules", RULE,
               points=b"[bioplaus.rules]\nx = plug_a_point_that_is_no_module ? :\n")


PARTS = {"files": file_cases, "data": data_cases, "commands": command_cases, "calls": call_cases,
         "plugins": plugin_cases}


def main() -> int:
    signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    warnings.simplefilter("ignore")
    wrong, here = [], Path.cwd()
    for part in ARGS.parts or PARTS:
        with tempfile.TemporaryDirectory() as d:
            os.chdir(d)
            try: wrong += counted(part, PARTS[part](Path(d), np.random.default_rng(ARGS.seed)))
            finally: os.chdir(here)
    return int(bool(wrong))


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; none: all")
    p.add_argument("--seed", type=int, default=0, help="of what is made up (default: 0)")
    p.add_argument("--show", action="store_true", help="name each case before it is tried")
    a = p.parse_args()
    for part in a.parts:
        if part not in PARTS: p.error(f"unknown part {part!r}; known: {', '.join(PARTS)}")
    return a


if __name__ == "__main__":
    ARGS = arguments()
    sys.exit(main())
