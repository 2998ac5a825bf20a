"Representations against outside oracles: rsatoolbox (RDMs, comparisons, ceilings, bootstraps) and ckatorch (CKA)."
import contextlib, io, warnings

import numpy as np, pytest, torch
from scipy import stats
from bioplaus.brains import from_rsatoolbox, rsa_inference, to_rsatoolbox
from bioplaus.core import stream
from bioplaus.representations import RDM, rdm
from bioplaus.similarity import _alike, _dual, bootstrap_rsa, cka, noise_ceiling, rsa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rsatoolbox = pytest.importorskip("rsatoolbox", reason="pip install 'bioplaus[oracles]'")
METHODS = {"spearman": "spearman", "kendall": "tau-a", "pearson": "corr", "cosine": "cosine", "whitened": "cosine_cov"}


def answers(*shape, seed=0): return torch.randn(*shape, generator=stream(seed, "answers"), dtype=torch.float64) + 0.5


def dataset(a, **descriptors):
    return rsatoolbox.data.Dataset(a.numpy(), obs_descriptors={k: v.tolist() for k, v in descriptors.items()})


def crossnobis(a, labels, folds, **settings):
    data = dataset(a, label=labels, fold=folds)
    found = rsatoolbox.rdm.calc_rdm(data, "crossnobis", descriptor="label", cv_descriptor="fold", **settings)
    return found.dissimilarities[0]


def theirs(r): return rsatoolbox.rdm.RDMs(r.d.numpy())


@contextlib.contextmanager
def quiet():
    "Without rsatoolbox's progress bars and its warnings about ties."
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
@pytest.mark.parametrize("by_class", [False, True])
def test_rdms(metric, by_class):
    a, labels = answers(3, 40, 12), torch.arange(40) * 7 % 5
    ours = rdm(a, metric, labels if by_class else None)
    for s in range(3):
        settings = {"descriptor": "label"} if by_class else {}
        other = rsatoolbox.rdm.calc_rdm(dataset(a[s], label=labels), metric, **settings)
        np.testing.assert_allclose(ours.vectors[s], other.dissimilarities[0], rtol=0, atol=1e-6)


def test_rdms_of_single_precision():
    a = answers(1, 40, 12).float()
    other = rsatoolbox.rdm.calc_rdm(dataset(a[0].double()), "euclidean")
    np.testing.assert_allclose(rdm(a, "euclidean").vectors[0], other.dissimilarities[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("whitened", [False, True])
def test_crossnobis(whitened):
    a, labels, folds = answers(2, 90, 7), torch.arange(90) % 5, torch.arange(90) // 5 % 3
    P = answers(7, 7, seed=1)
    P = P @ P.T
    ours = rdm(a, "crossnobis", labels, folds, P.expand(2, 7, 7) if whitened else None)
    for s in range(2):
        other = crossnobis(a[s], labels, folds, noise=P.numpy() if whitened else None)
        np.testing.assert_allclose(ours.vectors[s], other, rtol=0, atol=1e-6)


def test_crossnobis_of_unequal_classes():
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate((6, 9, 20))])
    a, folds = answers(1, 35, 7), torch.cat([torch.arange(n) % 3 for n in (6, 9, 20)])
    other = crossnobis(a[0], labels, folds)
    np.testing.assert_allclose(rdm(a, "crossnobis", labels, 3).vectors[0], other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_similarity(method):
    a, b = rdm(answers(4, 15, 9)), rdm(answers(3, 15, 6, seed=1))
    other = rsatoolbox.rdm.compare(theirs(a), theirs(b), METHODS[method])
    np.testing.assert_allclose(rsa(a, b, method), other, atol=1e-8)


def test_whitened_similarity_of_a_resample():
    "An image drawn twice: its distance to itself is left out."
    a, b, i = rdm(answers(2, 12, 9)), rdm(answers(3, 12, 6, seed=1)), np.array([0, 1, 1, 2, 4, 5, 5, 5, 8, 9, 10, 11])
    kept = torch.from_numpy(i[:, None] != i)
    ours = _alike(*(r.d[:, i][:, :, i] for r in (a, b)), "whitened", kept)
    drawn = [theirs(r).subsample_pattern("index", i) for r in (a, b)]
    np.testing.assert_allclose(ours, rsatoolbox.rdm.compare(*drawn, "cosine_cov"), atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_noise_ceiling(method):
    r = rdm(answers(1, 12, 20) + 0.7 * answers(6, 12, 20, seed=1))
    with quiet(): other = rsatoolbox.inference.boot_noise_ceiling(theirs(r), METHODS[method])
    np.testing.assert_allclose(noise_ceiling(r, method), other, atol=1e-8)


@pytest.mark.parametrize("method", ["cosine", pytest.param("spearman", marks=pytest.mark.weekly)])
def test_bootstrap(method):
    "One fixed RDM against those of 8 replicas: the bootstraps spread as rsatoolbox's do, as far as 400 draws allow."
    truth, draws = answers(1, 14, 20), 400
    model, data = rdm(truth + answers(1, 14, 20, seed=2)), rdm(truth + 0.7 * answers(8, 14, 20, seed=1))
    model.seeds = (99,)
    ours = bootstrap_rsa({"model": model, "data": data}, method, draws)[:, 1:, 0, 1]
    np.random.seed(0)
    fixed = rsatoolbox.model.ModelFixed("model", theirs(model))
    with quiet(): found = rsatoolbox.inference.eval_dual_bootstrap(fixed, theirs(data), METHODS[method], N=draws)
    other = torch.from_numpy(found.evaluations[:, 0, 0, 0, :].T)
    error = 5 * (2 / draws) ** 0.5  # of a ratio of variances: five standard errors
    for a, b in zip(ours, other):
        assert abs(a.mean() - b.mean()) < 5 * (a.var() / draws + b.var() / draws).sqrt()
        assert abs((a.var() / b.var()).log()) < error
    np.testing.assert_allclose(_dual(other[..., None, None], 8, 14).item(), found.get_model_var()[0], rtol=1e-6)


@pytest.mark.parametrize("width", [5, 40])
def test_debiased_cka(width):
    cka_batch = pytest.importorskip("ckatorch", reason="pip install 'bioplaus[oracles]'").cka_batch
    a, b = answers(3, 30, 20), answers(2, 30, width, seed=1) + answers(2, 30, 20)[..., :1]
    for s in range(3):
        for t in range(2): np.testing.assert_allclose(cka(a, b)[s, t], cka_batch(a[s:s + 1], b[t:t + 1]), atol=1e-9)


def test_biased_cka():
    cka_base = pytest.importorskip("ckatorch", reason="pip install 'bioplaus[oracles]'").cka_base
    a, b = answers(1, 30, 20), answers(1, 30, 8, seed=1)
    np.testing.assert_allclose(cka(a, b, debiased=False)[0, 0], cka_base(a[0], b[0]), atol=1e-9)


def test_rsatoolbox_there_and_back():
    r = rdm(answers(3, 12, 9), "euclidean")
    other = to_rsatoolbox(RDM.from_array(r.d, items=list("abcdefghijkl"), subjects=["x", "y", "z"]))
    np.testing.assert_array_equal(other.get_matrices(), r.d)
    assert other.pattern_descriptors["items"] == list("abcdefghijkl") and other.dissimilarity_measure == "given"
    back = from_rsatoolbox(other, "items", "subjects")
    assert back.d.equal(r.d) and back.seeds == ("x", "y", "z") and back.items == tuple("abcdefghijkl")
    made = rsatoolbox.rdm.calc_rdm(dataset(answers(12, 9)), "correlation")  # its own, without names
    np.testing.assert_allclose(from_rsatoolbox(made).vectors[0], made.dissimilarities[0])


@pytest.mark.parametrize("method", ["cosine", pytest.param("spearman", marks=pytest.mark.weekly)])
def test_inference_over_subjects_and_items(method):
    "Two models against 7 subjects: rsatoolbox's estimates, noise ceiling and, as far as 150 draws allow, its errors."
    truth, draws = answers(1, 14, 20), 150
    models = {"near": rdm(truth + answers(1, 14, 20, seed=2)), "far": rdm(truth + 2 * answers(1, 14, 20, seed=3))}
    data = rdm(truth + 0.7 * answers(7, 14, 20, seed=1))
    ours = rsa_inference(data, models, method=method, draws=draws)
    np.random.seed(0)
    fixed = [rsatoolbox.model.ModelFixed(name, theirs(m)) for name, m in models.items()]
    with quiet():
        found = rsatoolbox.inference.eval_dual_bootstrap(fixed, theirs(data), METHODS[method], N=draws)
        plain = rsatoolbox.inference.eval_fixed(fixed, theirs(data), method=METHODS[method])
    np.testing.assert_allclose(ours.difference[:2], plain.get_means(), atol=1e-8)
    ceiling = ours.loc[0, ["ceiling_low", "ceiling_high"]].astype(float)
    np.testing.assert_allclose(ceiling, plain.noise_ceiling, atol=1e-8)
    errors = (ours.high - ours.difference) / stats.t.ppf(0.975, 6)  # 7 subjects are fewer than 14 items
    theirs_too = np.sqrt([*found.get_model_var(), found.diff_var[0]])
    assert np.abs(np.log(errors / theirs_too)).max() < 5 * (1 / draws) ** 0.5
