"MLflow's own client reads back what its tracker has written, to a local store; skipped where mlflow isn't installed."
import pytest

mlflow = pytest.importorskip("mlflow", reason="pip install 'bioplaus[mlflow]'")
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.trackers import MLflow, settings_of
from bioplaus.training import load_run, fit


def train(*callbacks, epochs=3, replicas=2, lr=0.3, **settings):
    rule, task = make_rule("backprop", MLP((64, 10, 10), replicas=replicas)), load_task("digits", device="cpu")
    return fit(rule, task, epochs, lr, callbacks=callbacks, progress=False, **settings)


def odd(run): return {"odd name: 50%": [run.epoch] * run.rule.net.replicas}


def interrupt(run):
    if run.epoch == 2: raise KeyboardInterrupt


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file://{tmp_path}/store"


def stored(store):
    client = mlflow.MlflowClient(tracking_uri=store)
    return client, client.search_runs([client.get_experiment_by_name("bioplaus").experiment_id])


def numbers(client, run, name):
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def test_an_interrupted_run_goes_on_in_the_same_runs(store, tmp_path):
    with pytest.raises(KeyboardInterrupt): train(MLflow(store), interrupt, out=tmp_path / "run")
    assert {r.info.status for r in stored(store)[1]} == {"KILLED"}
    train(MLflow(store), odd, out=tmp_path / "run")
    found = train(MLflow(store), odd, epochs=4, out=tmp_path / "run")
    client, runs = stored(store)
    assert len(runs) == 3 and {r.info.status for r in runs} == {"FINISHED"}
    parent, = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    told = {k: str(v) for k, v in settings_of(found).items()}
    assert parent.data.tags["fit.epochs"] == told.pop("fit.epochs") == "4" and parent.data.params == told
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"history.csv", "checkpoint.safetensors"}
    for run in runs:
        if run is parent: continue
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        rows = found.history[found.history.replica == int(run.data.tags["bioplaus.replica"])]
        assert run.data.tags["seed"] == str(rows.seed.iloc[0])
        told = numbers(client, run, "valid_loss")
        assert [e for e, _ in told] == rows.epoch.tolist()
        assert [v for _, v in told] == pytest.approx(rows.valid_loss.tolist(), rel=1e-12)  # 15 digits are stored
        assert numbers(client, run, "odd name: 50_") == [(e, e) for e in (2, 3, 4)]


def test_other_runs_and_stored_ones(store, tmp_path):
    for lr in (0.3, 0.1): train(MLflow(store), replicas=1, lr=lr, epochs=1, warn=False)
    assert len(stored(store)[1]) == 2  # without a folder each is a run of its own
    train(replicas=1, epochs=1, out=tmp_path / "run")
    for _ in range(2): MLflow(store).write(load_run(tmp_path / "run"))
    client, runs = stored(store)
    assert len(runs) == 3 and numbers(client, runs[0], "valid_loss")[0][0] == 0


def test_no_server(capsys, monkeypatch):
    "Refused connections are given up at once; training ends as without a tracker."
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    run, plain = train(MLflow("http://127.0.0.1:9")), train()
    assert run.history.drop(columns="seconds").equals(plain.history.drop(columns="seconds"))
    assert capsys.readouterr().err.count("MLflow failed after epoch 0") == 1
