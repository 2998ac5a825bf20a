"What is shown is what was measured: images, activities, studies, curves, pictures; and degenerate layers."
import functools, warnings
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch
from bioplaus.attacks import transfer
from bioplaus.core import BadInput
from bioplaus.data import load_task
from bioplaus.design import Cell, Study, Watch, evenly, measure, spread_out
from bioplaus.geometry import Geometry, contrast, participation_ratio
from bioplaus.network import MLP
from bioplaus.shown import ImageStream, kind_of, known, shown
from bioplaus.plots import curve
from bioplaus.representations import activities
from bioplaus.robustness import robustness_suite
from bioplaus.rule import make_rule
from bioplaus.similarity import cka, cka_table
from bioplaus.tables import accuracy_table, difference_table, means_table, measures
from bioplaus.training import evaluate, fit
from short import short

N, SEED, SOME = 1010, 3, torch.tensor([1009, 7, 500, 1000, 31])


@functools.cache
def world():
    "A briefly trained rule, and more test images than there are in a piece."
    task = load_task("mnist-mini", device="cpu")
    rule = make_rule("backprop", MLP((784, 12, 8, 10), act="tanh", replicas=2))
    return fit(rule, task, epochs=1, progress=False).rule, task.x_test[:N], task.y_test[:N]


def quick(name): return short(known()[name]())


@functools.cache
def counted(name):
    "Images, answers and accuracy by a plain loop over pieces, with a generator that counts images and whoever answers."
    rule, x, y = world()
    kind, images, answers = quick(name), [], []
    for start in range(0, N, 1000):
        g = ImageStream(SEED, type(kind).__name__, start=start)
        xs = kind(rule, x[start:start + 1000], y[start:start + 1000], g)
        who = kind.network(rule, g)
        images.append(xs)
        answers.append(who.predict(xs).detach())
    answers = torch.cat(answers, 1)
    return torch.cat(images, -2), answers, (answers.argmax(-1) == y).float().mean(-1)


def same_images(a, b, name):
    "Bit for bit; where a gradient is followed, but for its rounding, and for the few signs that this may turn."
    if kind_of(known()[name]) != "attack" or name == "random-sign": assert torch.equal(a, b)
    else: assert ((a - b).abs() > 1e-5).double().mean() < 1e-3


@pytest.mark.parametrize("name", list(known()))
def test_a_picture_shows_what_the_table_counted(name):
    rule, x, y = world()
    images, answers, accuracy = counted(name)
    torch.testing.assert_close(evaluate(rule, x, y, quick(name), SEED)["accuracy"], accuracy, rtol=0, atol=1e-6)
    same_images(shown(rule, x[SOME], y[SOME], quick(name), SEED, SOME)[1], images[..., SOME, :], name)
    same_images(shown(rule, x[SOME[1:2]], y[SOME[1:2]], quick(name), SEED, 7)[1], images[..., SOME[1:2], :], name)
    few = activities(rule, x[SOME], -1, y[SOME], quick(name), seed=SEED, at=SOME)["output"]
    torch.testing.assert_close(few, answers[:, SOME], rtol=0, atol=1e-3)
    scores = evaluate(rule, x[SOME], y[SOME], quick(name), SEED, SOME)["accuracy"]
    torch.testing.assert_close(scores, (answers[:, SOME].argmax(-1) == y[SOME]).float().mean(-1))


def test_transferred_images_are_those_that_were_counted():
    rule, x, y = world()
    for name in ("fgsm", "random-sign", "square"):
        left = counted(name)[1].argmax(-1).eq(y).double().mean(-1)
        assert torch.equal(transfer(rule, rule, x, y, quick(name), SEED), left)


@pytest.mark.parametrize("name", ["fog", "elastic", "spatter", "random-sign", "pgd", "hidden-noise", "weight-noise"])
def test_other_draws_are_others(name):
    rule, x, y = world()
    both = activities(rule, x[:20], 1, y[:20], quick(name), draws=2)[1]
    first, second = both.unflatten(1, (2, 20)).unbind(1)
    assert torch.equal(first, activities(rule, x[:20], 1, y[:20], quick(name))[1]) and not torch.equal(first, second)
    assert not torch.equal(first, activities(rule, x[:20], 1)[1])  # clean activity is none under noise


def test_studies_and_watching_count_the_same_images():
    task = load_task("digits", device="cpu")
    study = Study(tasks=("digits",), classes=(10,), seeds=2, epochs=1, hidden=(12,), images=70, seed=5,
                  perturbations=("fog", "hidden-noise", "random-sign:0.1"), watch=("fog",))
    watch, cell = Watch(task, study.watch, study.images, study.seed), Cell("backprop", "digits", 10)
    run = fit(study.rule_on("backprop", 64, 10)[0], task, 1, callbacks=[watch], progress=False)
    table = measure(study, cell, run, task).set_index("perturbation")
    assert run.final["fog"].to_numpy() == pytest.approx(table.accuracy["fog"].to_numpy())
    at, (x, y) = spread_out(len(task.y_test), 70), evenly(task, 70)
    for spec in study.perturbations:
        acts = activities(run.rule, task.x_test, -1, task.y_test, spec, seed=study.seed)["output"][:, at]
        right = (acts.argmax(-1) == y).double().mean(-1)
        assert table.accuracy[spec.split(":")[0]].to_numpy() == pytest.approx(right.numpy())
    assert table.clean_same["fog"].to_numpy() == pytest.approx(evaluate(run.rule, x, y)["accuracy"].numpy())


@functools.cache
def easy_first():
    "A rule, and test images of which the first 100 are easy and the others are mostly noise."
    task = load_task("digits", device="cpu")
    rule = fit(make_rule("backprop", MLP((64, 20, 10), replicas=3)), task, epochs=5, progress=False).rule
    hard = torch.rand(task.x_test.shape, generator=torch.Generator().manual_seed(0))
    return rule, replace(task, x_test=torch.cat([task.x_test[:100], hard[100:]]))


def test_curves_start_at_the_images_that_were_perturbed():
    "A suite attacks the first images, a study takes them from all over. Neither curve lets a little noise help."
    rule, task = easy_first()
    suite = robustness_suite(rule, task, noise=None, attacks="fgsm", eps=(0.01, 0.1), attack_images=100, progress=False)
    drawn = curve(suite, "fgsm").groupby("level").accuracy.mean()
    assert suite[suite.perturbation == "clean"].accuracy.mean() < drawn[0.1] < drawn[0.01] <= drawn[0.0]
    assert drawn[0.0] == pytest.approx(evaluate(rule, task.x_test[:100], task.y_test[:100])["accuracy"].mean().item())


def test_tables_of_some_images():
    "Areas and curves by the same images, the headline by all; a table without a column for it is read as it was."
    conditions = [("clean", 0.0, 0.90, 900, 0.90)]
    conditions += [("gaussian", 0.1, 0.94, 300, 0.96), ("gaussian", 0.2, 0.92, 300, 0.96)]
    rows = [{"rule": r, "seed": s, "perturbation": p, "level": l, "accuracy": a + s / 1000, "loss": 0.0, "blind": 0.0,
             "classes": 2, "images": n, "clean_same": c + s / 1000}
            for r in ("x", "y") for s in range(3) for p, l, a, n, c in conditions]
    table = pd.DataFrame(rows)
    area = measures(table).set_index(["measure", "rule", "seed"]).value
    assert area["area, gaussian", "x", 0] == pytest.approx((0.96 / 2 + 0.94 + 0.92 / 2) / 2)
    assert area["clean", "x", 0] == 0.90
    shown_rows = accuracy_table(table).index.tolist()
    assert shown_rows == ["clean", "clean, 300 images", "gaussian 0.1", "gaussian 0.2"]
    assert difference_table(table).index.tolist() == shown_rows == means_table(table).condition.unique().tolist()
    old = table.drop(columns=["images", "clean_same"])
    area = measures(old).set_index(["measure", "rule", "seed"]).value
    assert area["area, gaussian", "x", 0] == pytest.approx((0.90 / 2 + 0.94 + 0.92 / 2) / 2)
    assert accuracy_table(old).index.tolist() == ["clean", "gaussian 0.1", "gaussian 0.2"]
    mixed = pd.concat([table[table.rule == "x"], old[old.rule == "y"]])  # cells from before and after
    starts = curve(mixed, "gaussian").query("level == 0").groupby("rule").accuracy.min()
    assert starts.round(6).to_dict() == {"x": 0.96, "y": 0.90}


def layers(dtype=torch.float32):
    "What a layer can come to: one replica each."
    g = torch.Generator().manual_seed(0)
    fine = torch.randn(60, 9, generator=g).to(dtype)
    constant = torch.full((60, 9), 0.3, dtype=dtype)
    constant[::2] = constant[::2].nextafter(torch.tensor(1.0, dtype=dtype))
    return fine, constant


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_same_up_to_rounding_is_the_same(dtype):
    fine, constant = layers(dtype)
    labels = torch.arange(60) % 3
    for measure_ in (lambda a: cka(a, fine), participation_ratio, lambda a: contrast(a, labels)):
        with pytest.raises(BadInput, match="up to rounding"): measure_(constant)
        measure_(fine)


def test_callbacks_mark_what_has_collapsed():
    task = load_task("digits", device="cpu")
    rule = make_rule("backprop", MLP((64, 9, 10), replicas=3))
    rule.net.weights[0].data[1] *= 1e-9      # sigmoids at their biases, up to rounding
    rule.net.biases[0].data[2] = float("inf")  # and a replica that has diverged
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Geometry(task.x_valid, task.y_valid)(type("Run", (), {"rule": rule, "history": None}))
    assert found["collapsed_1"].tolist()[:2] == [0, 1] and found["dimensions_1"].isnan().tolist()[:2] == [False, True]


def test_no_interval_from_two_seeds():
    g = torch.Generator().manual_seed(0)
    from bioplaus.representations import Activities
    made = lambda seeds: Activities({"hidden 1": torch.randn(seeds, 40, 8, generator=g)}, ["input", "hidden 1"],
                                    tuple(range(seeds)))
    acts = {r: made(2) for r in ("a", "b")}
    with pytest.warns(UserWarning, match=r"two seeds are \(a, b\)"): table = cka_table(acts, "hidden 1", draws=20)
    assert table.half.isna().all() and table.similarity.notna().all()
    table = cka_table({r: made(3) for r in ("a", "b")}, "hidden 1", draws=50)
    assert (table.half > 0).all() and np.isfinite(table.gap_half).all()
