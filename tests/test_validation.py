"""What goes by scikit-learn's helpers comes out as it would from them."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import validate_data

from fastmlp import MLPRegressor
from fastmlp.estimators import validation
from fastmlp.estimators.labels import label_binarizer, labels_in
from fastmlp.estimators.validation import seeded, validated

PLAIN = np.random.default_rng(0).standard_normal((6, 3))
TARGET = np.arange(6.0)


def refuse(*args, **kwargs):
    raise AssertionError("the long way")


def test_plain_arrays_go_by(monkeypatch):
    monkeypatch.setattr(validation, "validate_data", refuse)
    estimator = MLPRegressor()
    huge = np.full((6, 3), 1e308)  # whose sum is not finite
    for X in (PLAIN, PLAIN.astype(np.float32), np.asfortranarray(PLAIN)[::2], huge):
        for y in (TARGET, TARGET.astype(int), TARGET > 2, TARGET.astype(str)):
            result = validated(estimator, X, y[: len(X)], reset=True)
            assert result[0] is X
            assert np.shares_memory(result[1], y)
            assert estimator.n_features_in_ == 3
        assert validated(estimator, X, reset=False) is X


OTHERS = {
    "list": PLAIN.tolist(),
    "int": PLAIN.astype(int),
    "half": PLAIN.astype(np.float16),
    "frame": pd.DataFrame(PLAIN),
    "sparse": sparse.csr_matrix(PLAIN),
    "masked": np.ma.array(PLAIN),
    "swapped": PLAIN.astype(PLAIN.dtype.newbyteorder()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_goes_the_long_way(name, monkeypatch):
    calls = []

    def spy(*args, **kwargs):
        calls.append(args)
        return validate_data(*args, **kwargs)

    monkeypatch.setattr(validation, "validate_data", spy)
    estimator = MLPRegressor()
    X, y = validated(estimator, OTHERS[name], TARGET, reset=True, dtype=validation.FLOATS)
    assert X.shape == (6, 3)
    np.testing.assert_array_equal(y, TARGET)
    assert len(calls) == 1


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_numbers_that_scikit_learn_takes_for_finite(device):
    """A prediction looks for NaN all the same, and refuses it as an invalid value."""
    network = MLPRegressor(max_iter=1, device=device)
    with pytest.warns(ConvergenceWarning):
        network.fit(PLAIN, TARGET)
    with config_context(assume_finite=True), pytest.raises(ValueError, match="NaN or infinity"):
        network.predict(np.full((1, 3), np.nan))


def test_names_of_features_are_forgotten_or_missed():
    frame = pd.DataFrame(PLAIN, columns=list("abc"))
    estimator = MLPRegressor()
    validated(estimator, frame, TARGET, reset=True)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        validated(estimator, PLAIN, reset=False)
    validated(estimator, PLAIN, TARGET, reset=True)
    assert not hasattr(estimator, "feature_names_in_")


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.int64, float, str, object])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_labels(classes, dtype):
    y = (np.arange(12) % classes).astype(dtype)
    if dtype is object:
        y = y.astype(str).astype(object)
    own, expected = vars(label_binarizer(y)), vars(LabelBinarizer().fit(y))
    np.testing.assert_equal(own, expected)
    assert own["classes_"].dtype == expected["classes_"].dtype
    known = expected["classes_"]
    assert set(labels_in(y, known)) <= set(known)
    if classes > 1:  # and one of the labels is not known
        np.testing.assert_array_equal(labels_in(y, known[:-1]), unique_labels(y))
        np.testing.assert_array_equal(labels_in(y, known[1:]), unique_labels(y))


def test_random_states_are_lent():
    with seeded(7) as first, seeded(7) as second:  # a fit inside a fit
        assert first is not second
        np.testing.assert_array_equal(first.permutation(9), second.permutation(9))
    with seeded(3) as state:
        np.testing.assert_array_equal(
            state.random_sample(9), check_random_state(3).random_sample(9)
        )
        state.standard_normal()  # of which NumPy draws two, and keeps one
    with seeded(np.int64(3)) as state:
        expected = check_random_state(3)
        assert state.standard_normal() == expected.standard_normal()
        assert state.permutation(5).tolist() == expected.permutation(5).tolist()
    own = np.random.RandomState(0)
    with seeded(own) as state:
        assert state is own
    with pytest.raises(ValueError, match="Seed must be between"), seeded(-1):
        pass
