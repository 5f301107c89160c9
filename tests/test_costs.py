"""Which device "auto" is: what training and predicting would cost on each."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fastmlp import MLPRegressor, activations, devices
from fastmlp.devices import Work, costs

SMALL = Work(size=2_000, rows=10_000, features=20, batch_rows=200, epochs=200, itemsize=4)
LARGE = Work(size=2_000_000, rows=1_000_000, features=784, batch_rows=4096, epochs=200, itemsize=4)


@pytest.fixture
def gpu(monkeypatch):
    """As if nothing were lacking, and the CUDA tests had passed on a GPU."""
    monkeypatch.setattr(devices, "lacking", lambda: "")
    monkeypatch.setattr(costs, "GPU_RECORD", "gpu-tests.json")


# ---- costs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "pays"),
    [
        ({}, True),
        ({"epochs": 0, "rows": 10_000}, False),
        ({"epochs": 0}, True),
        ({"rows": 1_000}, False),
        ({"size": 2_000}, False),
        ({"batch_rows": 4, "size": 20_000}, False),  # all of the time goes into launches
        ({"epochs": 10**9}, True),
        ({"rows": 0}, False),
    ],
    ids=str,
)
def test_what_a_gpu_pays_for(change, pays):
    assert costs.gpu_pays(LARGE._replace(**change)) is pays


@pytest.mark.parametrize("field", ["size", "rows", "epochs"])
def test_more_work_never_pays_less(field):
    for work in (SMALL, LARGE):
        paid = [costs.gpu_pays(work._replace(**{field: 2**k})) for k in range(40)]
        assert paid == sorted(paid)


# ---- the choice ----------------------------------------------------------------------------------


def test_auto_takes_the_gpu_where_it_pays(gpu):
    assert devices.choose("auto") == "cpu"
    assert devices.choose("auto", SMALL) == "cpu"
    assert devices.choose("auto", LARGE) == "cuda"


def test_auto_is_the_cpu_until_the_tests_have_passed_on_a_gpu(gpu, monkeypatch):
    monkeypatch.setattr(costs, "GPU_RECORD", None)
    assert devices.choose("auto", LARGE) == "cpu"
    assert devices.choose("cuda", LARGE) == "cuda"


def kernels():
    """A digest of what runs on a GPU, the device and its formulas, without lines of comments."""
    package = Path(devices.__file__).parents[1]
    files = sorted([*package.glob("devices/cuda/**/*.py"), *package.glob("formulas/**/*.py")])
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    code = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def test_auto_takes_the_gpu_only_with_kernels_that_have_passed_on_one():
    """Whoever lets "auto" take it shows on which machine, when and with what they were tried."""
    file = Path(__file__).parents[1] / "benchmarks" / "results" / "gpu-tests.json"
    record = json.loads(file.read_text())
    assert {"machine", "date", "versions"} <= record.keys()
    assert record["failed"] == 0
    tried = record["kernels"] == kernels()
    wanted = file.name if tried else None
    assert wanted == costs.GPU_RECORD, (
        f"The record is {'' if tried else 'not '}of the kernels as they are, {kernels()}: set "
        "costs.GPU_RECORD to its name if it is, or to None until pytest -m gpu has passed on a GPU."
    )


def test_auto_is_the_cpu_without_a_gpu(gpu, monkeypatch):
    monkeypatch.setattr(devices, "lacking", lambda: "there is none.")
    assert devices.choose("auto", LARGE) == "cpu"
    assert devices.present() == ["cpu", "reference"]


def test_auto_does_not_look_for_a_gpu_where_it_would_not_pay(gpu, monkeypatch):
    monkeypatch.setattr(devices, "lacking", lambda: pytest.fail("looked"))
    assert devices.choose("auto", SMALL) == "cpu"


@pytest.mark.parametrize("name", devices.DEVICES)
def test_a_name_stands_for_itself(name, gpu):
    assert devices.choose(name, SMALL) == devices.choose(name, LARGE) == name


def chosen(X, **settings):
    """The device of an estimator whose work would pay."""
    estimator = MLPRegressor(**settings)
    names = []
    choose = devices.choose

    def note(name, work=None, X=None):
        # As if the data were large.
        names.append(choose(name, LARGE if work else None))
        return "reference"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "choose", note)
        estimator.partial_fit(X, np.arange(X.shape[0]))
    return names[0]


def half(z):
    return 0.5 * z


def test_auto_keeps_to_the_cpu_what_a_gpu_may_not_take(gpu):
    X = np.eye(4)
    own = activations.Custom(half, half)
    assert chosen(X) == "cuda"
    assert chosen(sparse.csr_matrix(X)) == "cpu"
    assert chosen(X, activation=own) == "cpu"
