"""Colour goes wherever grey goes: every perturbation by name, attacks, looks inside, pictures, widgets, files and
studies, on images of (channels, rows, columns) that are not square."""
import base64, io, json, shutil, subprocess
from importlib.resources import files
from unittest.mock import patch

import matplotlib.pyplot as plt, numpy as np, pytest, torch
from bioplaus.attacks import FGSM, Square
from bioplaus.cli import main
from bioplaus.core import stream
from bioplaus.data import Task, load_task
from bioplaus.network import MLP
from bioplaus.noise import corrupted
from bioplaus.play import explorer, export
from bioplaus.rule import make_rule
from bioplaus.shown import fact, known, names_of, perturbation, shown
from bioplaus.training import evaluate, fit
from short import short

SHAPE = (3, 10, 12)


@pytest.fixture(scope="module")
def task():
    "Blobs: the class is where the image is light, and in which channel."
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(400, *SHAPE, generator=g) / 2, torch.arange(400) % 4
    for c in range(4): x[y == c, c % 3, 2:8, 3 * c:3 * c + 3] += 0.5
    return Task.from_tensors(x, y, name="blobs", device="cpu")


@pytest.fixture(scope="module")
def rule(task):
    return fit(make_rule("backprop", MLP((360, 20, 4), replicas=2)), task, epochs=3, progress=False, warn=False).rule


def level(name):
    "A level that each has: severity 3, or 0.1 of an attack."
    levels = fact(known()[name], "levels")
    return levels[2] if levels else 0.1


@pytest.mark.parametrize("name", known())
def test_every_perturbation(name, task, rule):
    "The shape is kept and [0, 1], the numbers are the seed's and the image's, whatever else is in the batch."
    p = short(perturbation(f"{name}:{level(name)}", SHAPE))
    x, y = task.x_test[:12], task.y_test[:12]
    who, seen = shown(rule, x, y, p, 3)
    assert seen.shape[-2:] == x.shape and seen.dtype == x.dtype and 0 <= seen.min() and seen.max() <= 1
    assert torch.equal(seen, shown(rule, x, y, p, 3)[1])
    if fact(known()[name], "kind") == "network":
        assert torch.equal(seen, x) and not torch.equal(who.predict(x), rule.predict(x))
    else: assert not torch.equal(seen, x.expand_as(seen))
    half = shown(rule, x[6:], y[6:], p, 3, at=6)[1]
    torch.testing.assert_close(half, seen[..., 6:, :], atol=1e-5, rtol=0)
    if p.norm == "linf": assert (seen - x).abs().max() <= 0.1 + 1e-6
    if p.norm == "l2": assert (seen - x).norm(dim=-1).max() <= 0.1 + 1e-6
    assert evaluate(rule, x, y, p, seed=3)["accuracy"].shape == (2,)


@pytest.mark.parametrize("name", names_of("corruption"))
def test_a_channel_is_a_grey_image(name, task):
    """What moves an image, or stands in front of it, does to each channel what it does to a grey image; what hits
    single values hits each by itself; light is the same for all channels."""
    x = torch.rand(20, 3, 120, generator=stream(1))
    spec = f"{name}:{level(name)}"
    found = corrupted(x.flatten(1), spec, 5, SHAPE).view_as(x)
    if fact(known()[name], "needs_shape"):
        for c in range(3): torch.testing.assert_close(found[:, c], corrupted(x[:, c].clone(), spec, 5, SHAPE[1:]))
    grey = torch.full_like(x, 0.5)
    apart = corrupted(grey.flatten(1), spec, 5, SHAPE).view_as(x).std(1).max().item()
    grain = name in ("gaussian", "uniform", "speckle", "salt-and-pepper", "shot")
    assert (apart > 1e-3) == grain


def test_contrast_goes_to_grey():
    x = torch.rand(4, 360, generator=stream(2))
    torch.testing.assert_close(corrupted(x, "contrast:1", 0, SHAPE), x.mean(-1, keepdim=True).expand_as(x))


def test_square_has_a_sign_for_each_channel(task):
    "Upright stripes at first: constant along columns, and not the same in all channels."
    rule, x = make_rule("backprop", MLP((360, 8, 4), seed=1)), torch.full((6, 360), 0.5)
    made = Square(0.1, 1, shape=SHAPE)(rule, x, torch.zeros(6, dtype=torch.long), stream(0))[0]
    changed = made[(made != x).any(1)].view(-1, *SHAPE)
    assert len(changed) and (changed == changed[:, :, :1]).all() and not (changed == changed[:, :1]).all()


def test_an_attack_follows_the_gradient_of_pixels(task, rule):
    "FGSM against autograd, with a deviation of its own for each channel."
    x, y = task.x_test[:8].clone().requires_grad_(), task.y_test[:8]
    torch.nn.functional.cross_entropy(rule.predict(x)[1], y).backward()
    mine = FGSM(0.05)(rule, x.detach(), y, stream(0))[1]
    sure = x.grad.abs() > 1e-12
    torch.testing.assert_close(mine[sure], (x.detach() + 0.05 * x.grad.sign()).clamp(0, 1)[sure], rtol=0, atol=1e-6)
    assert len(task.std) == 3 and sure.any()


def test_normalised_by_channel(task, rule):
    z = rule.transform(task.x_train).unflatten(-1, SHAPE)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_a_run_comes_back(task, tmp_path):
    "With its means, from a file; and goes on."
    from bioplaus.training import load_run
    first = fit(make_rule("fa", MLP((360, 8, 4))), task, epochs=1, out=tmp_path, progress=False, warn=False)
    back = load_run(tmp_path)
    assert torch.equal(back.rule.predict(task.x_test), first.rule.predict(task.x_test))
    again = fit(make_rule("fa", MLP((360, 8, 4))), task, epochs=2, out=tmp_path, progress=False, warn=False)
    assert again.epoch == 2


# ---- looks, pictures, pages ----------------------------------------------------------------------------------------

def test_looks_inside(task, rule):
    "RDMs, similarity, maps and readouts of layers that answer to colours."
    from bioplaus.geometry import participation_ratio, pca_picture, probe, tsne
    from bioplaus.representations import activities, rdm
    from bioplaus.similarity import cka, rsa
    x, y = task.x_test[:40], task.y_test[:40]
    acts = activities(rule, x, y=y, perturb=perturbation("fog:0.2", SHAPE))
    pixels, hidden = (rdm(acts[layer], "correlation") for layer in ("input", "hidden 1"))
    assert pixels.d.shape[-2:] == (40, 40) and -1 <= rsa(pixels, hidden).min() <= rsa(pixels, hidden).max() <= 1
    assert 0 < cka(acts["input"], acts["hidden 1"]).min() and participation_ratio(acts["hidden 1"]).shape == (2,)
    assert tsne(acts["hidden 1"][0], y, 8).xy.shape == pca_picture(acts["input"][0], y).xy.shape == (40, 2)
    assert (probe(acts["hidden 1"][:, ::2], y[::2], acts["hidden 1"][:, 1::2], y[1::2]) > 0.3).all()


def test_widgets(task, rule):
    from bioplaus.widgets import _answered, explore_representations, explore_robustness
    figure, answers = _answered({"backprop": rule}, task, lambda r: task.x_test[0])
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.shape == (10, 12, 3) and (drawn[3, 4] == task.x_test[0].view(*SHAPE)[:, 3, 4].numpy()).all()
    plt.close(figure)
    panel = explore_robustness({"backprop": rule}, task)
    panel.controls["noise"].value, panel.controls["attack"].value = 0.2, 0.1
    assert panel.answers and plt.imread(io.BytesIO(panel.picture.value)).ndim == 3
    assert explore_representations({"backprop": rule}, task, each=5).rdms


NODE = """
const net = read(JSON.parse(process.argv[1])), x = JSON.parse(process.argv[2]);
let painted;
const canvas = {getContext: () => ({createImageData: n => ({data: new Uint8ClampedArray(4 * n * n)}),
                                    putImageData: image => { painted = Array.from(image.data); }})};
paint(canvas, x);
const logits = Array.from(forward(net, x).logits), pull = Array.from(gradient(net, x, 1));
console.log(JSON.stringify({logits, pull, painted}));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node on this machine")
def test_games():
    "The page answers, attacks and paints as the rule does; its weights are rounded to bytes."
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(60, 3, 8, 8, generator=g), torch.arange(60) % 3
    square = Task.from_tensors(x, y, name="squares", device="cpu")
    rule = fit(make_rule("backprop", MLP((192, 6, 3), act="tanh")), square, epochs=1, progress=False, warn=False).rule
    one = square.x_test[:1]
    script = (files("bioplaus") / "data_files" / "play.js").read_text(encoding="utf-8") + NODE
    words = ["node", "-e", script, json.dumps(export(rule, "one")), json.dumps(one[0].tolist())]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    with torch.no_grad():
        for W in rule.net.weights:
            step = W.abs().amax(-1, keepdim=True) / 127
            W.copy_((W / step).round() * step)
    seen = one.clone().requires_grad_()
    torch.nn.functional.cross_entropy(rule.predict(seen)[0], torch.tensor([1])).backward()
    torch.testing.assert_close(torch.tensor(found["logits"]), rule.predict(one)[0, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.tensor(found["pull"]), seen.grad[0], atol=1e-5, rtol=1e-3)
    rgba = torch.tensor(found["painted"]).view(8, 8, 4)
    assert (rgba[..., :3] - 255 * square.pictures(one[0])).abs().max() <= 0.51 and (rgba[..., 3] == 255).all()


def test_the_explorer_keeps_colours(task):
    x, y = torch.rand(60, 3, 8, 8, generator=stream(4)).flatten(1), torch.arange(60) % 3
    game = explorer({"one": make_rule("backprop", MLP((192, 6, 3)))}, x, y, perplexity=5)
    assert len(base64.b64decode(game.data["images"][0])) == 192


@pytest.mark.usefixtures("png_alone")
def test_a_study_with_its_report(task, tmp_path):
    "Noise, attacks, their checks, updates, mediators; every picture of the report is there."
    from bioplaus.report import write_report
    from bioplaus.study import compare
    found = compare(["backprop", "fa", "softhebb"], task, out=tmp_path, seeds=2, epochs=1, hidden=(8,), device="cpu",
                    perturbations=["fog:0.3", "salt-and-pepper:0.1", "fgsm:0.05", "square:0.05", "hidden-noise:0.3"],
                    mediators=["linear-margin"], images=40, progress=False)
    assert set(found.perturbation) == {"clean", "fog", "salt-and-pepper", "fgsm", "square", "hidden-noise"}
    page = write_report(tmp_path).read_text()
    assert "Not shown" not in page
    assert any("weights" in f.name for f in (tmp_path / "figures").iterdir())


def test_the_command_line(tmp_path, capsys):
    "A file in colour through `data`, `train` and `evaluate`."
    x = np.random.default_rng(0).integers(0, 256, (90, 6, 5, 3), np.uint8)
    x[np.arange(90) % 3 == 1, ..., 0] //= 4
    np.savez(tmp_path / "c.npz", images=x, labels=np.arange(90) % 3)

    def command(*words):
        with patch("sys.argv", ["bioplaus", *map(str, words)]): main()
        return capsys.readouterr().out
    said = json.loads(command("data", tmp_path / "c.npz", "--json").splitlines()[-1])
    assert said["shape"] == [3, 6, 5] and len(said["mean"]) == len(said["std"]) == 3
    run, how = tmp_path / "run", ("--hidden", 6, "--epochs", 1, "--seeds", 2, "--device", "cpu")
    command("train", "hebb-clamp", "--task", tmp_path / "c.npz", "--out", run, *how)
    table = command("evaluate", run, "--perturb", "fog:0.2,fgsm:0.05,rotation:10", "--device", "cpu")
    assert all(word in table for word in ("fog", "fgsm", "rotation"))


@pytest.mark.parametrize("name, how", [("backprop", dict(lr=0.02)), ("softhebb", dict(optimizer="adam"))])
def test_photo_digits_are_learnt(name, how):
    "A few of them, by a small network: far better than guessing, before backgrounds that it has never seen."
    some = load_task("photo-digits:few=600", classes=2, device="cpu")
    assert some.shape == (3, 28, 28) and some.y_train.bincount().tolist() == [600, 600]
    run = fit(make_rule(name, MLP((2352, 100, 2), act="relu")), some, epochs=5, progress=False, warn=False, **how)
    assert run.evaluate(some.x_test, some.y_test)["accuracy"].item() > 0.75
