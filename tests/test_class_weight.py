"""Class weights: the same, bit by bit, as their product with the weights of rows."""

import pickle

import numpy as np
import pytest
from designs import covering
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.utils import compute_class_weight, compute_sample_weight
from tasks import DEVICES, TASKS

from fastmlp import MLPClassifier
from fastmlp.displays import GradientFlowDisplay
from fastmlp.inspection import gradients

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 4}
NUMPY = SETTINGS | {"device": "reference"}
GIVEN = {
    "binary": [{"yes": 3.0}, {"no": 0.5, "yes": 2}, {"no": 0.0}, "balanced", {}],
    "multiclass": [{0: 1, 10: 2, 20: 4.5}, {10: 0.1}, "balanced"],
    "multilabel": [[{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}], "balanced"],
}
CASES = [(task, given) for task, several in GIVEN.items() for given in several]
HOW = {
    "epochs": {"shuffle": True, "batch_size": 16},
    "early_stopping": {"early_stopping": True, "validation_fraction": 0.4},
    "lbfgs": {"solver": "lbfgs"},
}


def assert_same(one, other):
    for own, expected in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(own, expected)
    assert one.loss_ == other.loss_
    assert getattr(one, "validation_scores_", 0) == getattr(other, "validation_scores_", 0)


@covering("task given, how, dtype, device", CASES, HOW, [np.float64, np.float32], DEVICES)
def test_equals_the_product_as_sample_weight(dtype, device, task, given, how):
    X, y, weights = TASKS[task].data(dtype)
    settings = SETTINGS | HOW[how] | {"device": device}
    factors = compute_sample_weight(given, y)
    for sample_weight, product in ((None, factors), (weights, factors * weights)):
        weighted = MLPClassifier(**settings, class_weight=given).fit(X, y, sample_weight)
        assert_same(weighted, MLPClassifier(**settings).fit(X, y, product))
    if given:
        plain = MLPClassifier(**settings).fit(X, y, weights)
        assert np.abs(weighted.coefs_[0] - plain.coefs_[0]).max() > 0


def test_partial_fit():
    """The rows of a call need not have all classes."""
    X, y, weights = TASKS["multiclass"].data()
    given = {0: 1, 10: 2, 20: 4.5}
    weighted, plain = MLPClassifier(**NUMPY, class_weight=given), MLPClassifier(**NUMPY)
    for rows in (y < 20, y > 0, y == 10):
        product = compute_sample_weight(given, y)[rows] * weights[rows]
        weighted.partial_fit(X[rows], y[rows], weights[rows], classes=[0, 10, 20])
        plain.partial_fit(X[rows], y[rows], product, classes=[0, 10, 20])
    assert_same(weighted, plain)


def test_balanced_is_not_for_partial_fit():
    """The rows of one call do not tell how frequent the classes are. In scikit-learn's words."""
    X, y, _ = TASKS["binary"].data()
    said = []
    for estimator in (
        SGDClassifier(class_weight="balanced"),
        MLPClassifier(**NUMPY, class_weight="balanced"),
        MLPClassifier(**NUMPY, class_weight="balanced").fit(X, y),
    ):
        before = pickle.dumps(vars(estimator))
        with pytest.raises(ValueError, match="class_weight 'balanced' is not supported") as error:
            estimator.partial_fit(X, y, classes=["no", "yes"])
        assert pickle.dumps(vars(estimator)) == before
        said.append(str(error.value))
    assert len(set(said)) == 1


def test_balanced_weights_of_a_sample_are_a_dict():
    X, y, _ = TASKS["binary"].data()
    classes = np.unique(y)
    given = dict(zip(classes, compute_class_weight("balanced", classes=classes, y=y), strict=True))
    assert_same(
        MLPClassifier(**NUMPY, class_weight=given).fit(X, y),
        MLPClassifier(**NUMPY, class_weight="balanced").fit(X, y),
    )


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_labels(form):
    X, y, _ = TASKS["multilabel"].data()
    estimator = MLPClassifier(**NUMPY, class_weight="balanced")
    assert_same(clone(estimator).fit(X, form(y)), estimator.fit(X, y))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_without_weight_change_nothing(device):
    X, y, weights = TASKS["binary"].data()
    weights[::3] = 0
    settings = SETTINGS | {"class_weight": {"yes": 3}, "solver": "lbfgs", "device": device}
    kept = weights > 0
    one = MLPClassifier(**settings).fit(X, y, weights)
    other = MLPClassifier(**settings).fit(X[kept], y[kept], weights[kept])
    for own, expected in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_integer_weights_are_repeated_rows(device):
    X, y, _ = TASKS["multiclass"].data()
    settings = SETTINGS | {"solver": "lbfgs", "device": device}
    given = {0: 1, 10: 3, 20: 2}
    repeated = np.repeat(np.arange(len(y)), compute_sample_weight(given, y).astype(int))
    one = MLPClassifier(**settings, class_weight=given).fit(X, y)
    other = MLPClassifier(**settings).fit(X[repeated], y[repeated])
    for own, expected in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("binary", "even", "'class_weight' parameter of MLPClassifier must be a str among"),
        ("binary", 3, "'class_weight' parameter of MLPClassifier must be"),
        ("binary", {"maybe": 1}, "are not in class_weight"),
        ("binary", [{}], "'class_weight' parameter of compute_class_weight must be"),
        ("binary", {"no": np.nan}, "contains NaN"),
        ("binary", {"no": 0, "yes": 0}, "must contain at least one non-zero number"),
        ("multilabel", {0: 1}, "class_weight should be a list of dicts"),
        ("multilabel", [{}], "number of elements in class_weight should match"),
    ],
    ids=str,
)
def test_wrong_class_weights(task, given, message):
    X, y, _ = TASKS[task].data()
    estimator = MLPClassifier(**NUMPY, class_weight=given)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)
    assert not hasattr(estimator, "classes_")


def test_one_label_a_row_after_a_fit_of_several():
    X, y, _ = TASKS["multilabel"].data()
    estimator = MLPClassifier(**NUMPY).fit(X, y)
    with pytest.raises(ValueError, match="expected an indicator matrix of labels"):
        estimator.partial_fit(X, y[:, 0])


def test_inspection_and_its_displays_weigh_classes():
    X, y, weights = TASKS["binary"].data()
    product = compute_sample_weight("balanced", y) * weights
    estimator = MLPClassifier(**NUMPY, class_weight="balanced").fit(X, y, weights)
    own = gradients(estimator, X, y, weights)
    expected = gradients(estimator.set_params(class_weight=None), X, y, product)
    np.testing.assert_array_equal(own[0].coefs, expected[0].coefs)
    pytest.importorskip("matplotlib", reason="displays need matplotlib").use("Agg")
    draw = GradientFlowDisplay.from_estimator
    flow = draw(estimator.set_params(class_weight="balanced"), X, y, weights, epochs=2)
    plain = draw(estimator.set_params(class_weight=None), X, y, product, epochs=2)
    np.testing.assert_array_equal(flow.norms, plain.norms)


def test_in_an_ensemble():
    """Which numbers the classes, so that only "balanced" works there."""
    X, y, _ = TASKS["multiclass"].data()
    estimator = MLPClassifier(**NUMPY, class_weight="balanced")
    assert BaggingClassifier(estimator, n_estimators=2, random_state=0).fit(X, y).score(X, y) > 0
