"What the folded answers of the chapters' exercises say."
import pytest, torch
from torch.testing import assert_close

from bioplaus.attacks import FGSM
from bioplaus.data import load_task
from bioplaus.geometry import contrast, participation_ratio, probe, selectivity, sparseness
from bioplaus.hebbian import effective_rank, oja, oja_subspace
from bioplaus.mediators import margin
from bioplaus.network import MLP
from bioplaus.noise import Gaussian
from bioplaus.representations import activities, rdm
from bioplaus.rule import Backprop, Delta, Rule, make_rule, mean_outer, what_it_sees
from bioplaus.similarity import cka, procrustes, rsa
from bioplaus.training import evaluate, fit


@pytest.fixture(scope="module")
def digits(): return load_task("digits", device="cpu")


def grads(rule, x, y): rule(x, y); return [W.grad.clone() for W in rule.net.weights]


def test_02_without_hidden_layer_backprop_is_local():
    assert what_it_sees(make_rule("backprop", MLP((8, 3)))) == {"pre", "post"} and "transported weights" in what_it_sees(make_rule("backprop", MLP((8, 7, 3))))


def test_02_the_two_forms_of_the_delta_rule():
    x, y = torch.rand(5, 6), torch.randint(3, (5,))
    changes = {act: [grads(Rule(MLP((6, 4, 3), act=act), Backprop(), Delta(on)), x, y)[0] for on in ("v", "r")] for act in ("identity", "tanh")}
    assert_close(*changes["identity"])
    assert not torch.allclose(*changes["tanh"])


def test_03_a_small_rate_only_takes_longer():
    x = torch.randn(1, 200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.tensor([2.0, 1, 1, 0.5, 0.5])
    C, W0 = mean_outer(x, x), torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fast, slow = (W0 @ torch.linalg.matrix_power(torch.eye(5, dtype=torch.float64) + lr * C, n) for lr, n in ((0.001, 1000), (0.0001, 10_000)))
    assert_close(fast.norm(), slow.norm(), rtol=0.02, atol=0)
    assert torch.cosine_similarity(fast, slow, dim=-1).min() > 0.999


def test_03_ten_units_of_oja_are_one():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 500, 8, generator=g, dtype=torch.float64) * torch.tensor([3.0, 2, 1.5, 1, 1, 1, 0.5, 0.5])
    ends = {}
    for name, rule in (("oja", oja), ("subspace", oja_subspace)):
        W = 0.1 * torch.randn(1, 3, 8, generator=g, dtype=torch.float64)
        for _ in range(4000): W = W + 0.01 * rule(x @ W.mT, x, W)
        ends[name] = effective_rank(W).item()
    assert ends["oja"] < 1.05 and ends["subspace"] > 2.95


def test_04_half_a_clamp_is_half_way(digits):
    x, y = digits.x_train[:50], digits.y_train[:50]
    free, half, held = (grads(make_rule("hebb-clamp", MLP((64, 20, 10)), strength=s), x, y)[1] for s in (0.0, 0.5, 1.0))
    assert_close(half, (free + held) / 2)
    covariance = [grads(make_rule("covariance-clamp", MLP((64, 20, 10)), strength=s), x, y)[1] for s in (0.0, 0.5, 1.0)]
    assert_close(covariance[1], (covariance[0] + covariance[2]) / 2)


def test_04_a_rare_class_is_learnt_slowly_and_as_well():
    g = torch.Generator().manual_seed(0)
    y = torch.tensor([0] * 90 + [1] * 10)
    r, t = torch.rand(1, 100, 6, generator=g, dtype=torch.float64), torch.nn.functional.one_hot(y)[None].double()
    means, W, gaps = torch.stack([r[0, y == c].mean(0) for c in (0, 1)]), torch.zeros(1, 2, 6, dtype=torch.float64), []
    for n in range(1, 2001):
        W = W + 0.1 * oja(t, r, W)
        gaps.append((W[0] - means).norm(dim=-1) / means.norm(dim=-1))
    assert_close(W[0], means)
    assert_close(gaps[99], torch.tensor([(1 - 0.09) ** 100, (1 - 0.01) ** 100], dtype=torch.float64), rtol=1e-6, atol=1e-12)


def test_05_the_output_layer_learns_as_in_backprop(digits):
    x, y = digits.x_train[:50].double(), digits.y_train[:50]
    for name in ("fa", "dfa"):
        mine, true = (grads(make_rule(n, MLP((64, 20, 20, 10), act="tanh").double()), x, y) for n in (name, "backprop"))
        assert_close(mine[-1], true[-1])
        assert all(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).abs() < 0.5 for a, b in zip(mine[:-1], true[:-1]))


def test_05_only_the_direction_of_the_feedback_matters_to_the_angle(digits):
    "Feedback twice as strong: hidden changes twice as large, in the same direction; the output's as before."
    x, y = digits.x_train[:50], digits.y_train[:50]
    one, two = (make_rule("fa", MLP((64, 20, 10), act="tanh")) for _ in range(2))
    two.teacher.B2.mul_(2)
    a, b = grads(one, x, y), grads(two, x, y)
    assert_close(b[0], 2 * a[0]), assert_close(b[1], a[1])


def test_06_what_remains_of_the_error():
    J, leak, delta = torch.diag(torch.tensor([2.0, 1.0, 0.1])), 0.3, torch.ones(3)
    u = torch.linalg.solve(J @ J.T + leak * torch.eye(3), delta)
    assert_close(delta - J @ J.T @ u, leak / (torch.tensor([4.0, 1.0, 0.01]) + leak))
    assert [round(v, 2) for v in (delta - J @ J.T @ u).tolist()] == [0.07, 0.23, 0.97]


def test_06_the_wrong_sign_explodes():
    J, u = torch.tensor([[1.0, 0.5], [0.2, 0.8]], dtype=torch.float64), {1: torch.zeros(2, dtype=torch.float64), -1: torch.zeros(2, dtype=torch.float64)}
    for sign in u:
        for _ in range(400): u[sign] = u[sign] + 0.1 * (1 - sign * J @ J.T @ u[sign] - 0.3 * u[sign])
    assert u[1].norm() < 10 and u[-1].norm() > 1e6


def test_08_the_price_of_shaking_weights():
    nodes, weights = 100 + 10, 784 * 100 + 100 + 100 * 10 + 10
    assert weights == 79_510 and round((weights + 1) / (nodes + 1)) == 716


def test_10_scaling_the_rate_with_the_batch(digits):
    "Twice the batch and twice the rate end nearer to the first run than twice the batch alone."
    start = MLP((64, 30, 10), act="tanh")
    ends = [torch.cat([p.detach().flatten() for p in fit(make_rule("backprop", MLP((64, 30, 10), act="tanh")), digits, 3, lr, batch_size=n, progress=False).rule.parameters()]) for n, lr in ((16, 0.05), (32, 0.1), (32, 0.05))]
    moved = (ends[0] - torch.cat([p.detach().flatten() for p in start.parameters()])).norm()
    assert (ends[1] - ends[0]).norm() < 0.5 * (ends[2] - ends[0]).norm() and (ends[1] - ends[0]).norm() < 0.3 * moved


def test_10_the_best_epoch_flatters():
    "The largest of several equally good, noisy measurements is larger than what they measure."
    g = torch.Generator().manual_seed(0)
    measured = 0.9 + (0.9 * 0.1 / 1000) ** 0.5 * torch.randn(20_000, 20, generator=g)
    assert 0.016 < (measured.max(1).values - 0.9).mean() < 0.020


def answers(*shape, seed=0): return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_30_which_distance_notices():
    a, labels = answers(2, 60, 9), torch.arange(60) % 4
    of = lambda r, metric: rdm(r, metric, labels if metric == "crossnobis" else None).d
    for metric, louder in (("correlation", 1), ("cosine", 1), ("euclidean", 9), ("crossnobis", 9)):
        assert_close(of(3 * a, metric), louder * of(a, metric))
        assert torch.allclose(of(a + 1, metric), of(a, metric)) == (metric != "cosine")


def test_30_half_of_the_distances_of_noise_are_negative():
    d = rdm(torch.randn(200, 100, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64), "crossnobis", torch.arange(100) % 5).vectors
    assert 0.45 < (d < 0).double().mean() < 0.6 and abs(d.mean()) < 4 * d.mean(1).std() / 200 ** 0.5
    assert d.clamp(min=0).mean() > 5 * abs(d.mean())


def test_31_the_same_seed_is_alike_before_it_has_learnt(digits):
    a, b = (activities(make_rule(name, MLP((64, 30, 10), act="tanh", replicas=4)), digits.x_test[:80], 1)[1] for name in ("backprop", "fa"))
    alike = rsa(rdm(a), rdm(b))
    assert_close(alike.diagonal(), torch.ones(4, dtype=alike.dtype)) and alike[~torch.eye(4, dtype=torch.bool)].max() < 0.9


def test_31_a_copy_changes_nothing_and_a_stretch_does():
    a = answers(1, 50, 10)
    copied, stretched = torch.cat([a, a], -1), a * torch.tensor([100.0] + [1.0] * 9)
    assert_close(torch.stack([cka(a, copied), rsa(rdm(a), rdm(copied)), 1 - procrustes(a, copied)]), torch.ones(3, 1, 1, dtype=a.dtype))
    assert cka(a, stretched).item() < 0.6 and rsa(rdm(a), rdm(stretched)).item() < 0.6 and procrustes(a, stretched).item() > 0.4
    y = (a[0, :, 1] > a[0, :, 2]).long()
    assert_close(probe(a[:, :40], y[:40], a[:, 40:], y[40:], (1e-9,)), probe(stretched[:, :40], y[:40], stretched[:, 40:], y[40:], (1e-9,)))


def test_32_what_louder_and_higher_change():
    a, y = answers(2, 60, 8), torch.arange(60) % 3
    measures = {"ratio": lambda r: contrast(r, y)["ratio"], "dimensions": participation_ratio, "selectivity": lambda r: selectivity(r, y), "sparseness": sparseness}
    for name, f in measures.items():
        assert_close(f(10 * a), f(a))
        if name in ("ratio", "dimensions"): assert_close(f(a + 1), f(a))
        else: assert (f(a + 1) < f(a)).all()
    assert_close(contrast(10 * a, y)["within"], 100 * contrast(a, y)["within"])


def test_32_ten_points_span_nine_dimensions():
    a = torch.eye(10, dtype=torch.float64).repeat(5, 1)[None]
    assert_close(participation_ratio(a), torch.tensor([9.0], dtype=torch.float64))
    assert contrast(a, torch.arange(10).repeat(5))["ratio"].item() < 1e-12


def straight(pixels):
    "A linear rule with two classes and unit normal, all pixels alike, and images at a distance of 0.3 from its boundary."
    rule = make_rule("linear", MLP((pixels, 2), normalise=(0.5, 1.0)).double())
    w = torch.ones(pixels, dtype=torch.float64) / pixels ** 0.5
    with torch.no_grad(): rule.net.weights[0].copy_(torch.stack([-w, w])[None] / 2), rule.net.biases[0].zero_()
    return rule, (0.5 + 0.3 * w).expand(4000, -1), torch.ones(4000, dtype=torch.long)


def test_33_the_same_margin_in_more_pixels():
    for pixels in (64, 784):
        rule, x, y = straight(pixels)
        assert_close(margin(rule, x, y).item(), 0.3, rtol=1e-5, atol=0)
        assert abs(evaluate(rule, x, y, Gaussian(0.3))["accuracy"].item() - 0.8413) < 0.025  # Φ(1)
        for factor, right in ((0.99, 1), (1.01, 0)): assert evaluate(rule, x, y, FGSM(factor * 0.3 / pixels ** 0.5))["accuracy"].item() == right


def test_33_saturated_units_make_the_margin_large(digits):
    rule = fit(make_rule("backprop", MLP((64, 30, 10), replicas=3)), digits, epochs=20, progress=False).rule
    x, y = digits.x_test, digits.y_test
    measured = lambda: (margin(rule, x, y).mean(), evaluate(rule, x, y, Gaussian(0.2))["accuracy"].mean())
    found = [measured()]
    for factor in (30, 10):
        with torch.no_grad():
            for p in (rule.net.weights[0], rule.net.biases[0]): p *= factor
        found.append(measured())
    margins, right = zip(*found)
    assert margins[1] > 2 * margins[0] and margins[2] > 1e6 and right[0] > right[1] >= right[2]
