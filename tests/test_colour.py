"""Colour goes wherever grey goes: every perturbation by name, attacks, looks inside, pictures, widgets, files and
studies, on images of (channels, rows, columns) that are not square."""
import pytest, torch
from bioplaus.attacks import FGSM, Square
from bioplaus.core import stream
from bioplaus.data import Task
from bioplaus.network import MLP
from bioplaus.noise import corrupted
from bioplaus.rule import make_rule
from bioplaus.shown import fact, known, names_of, perturbation, shown
from bioplaus.training import evaluate, fit

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
    p = Square(0.1, 20, shape=SHAPE) if name == "square" else perturbation(f"{name}:{level(name)}", SHAPE)
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
