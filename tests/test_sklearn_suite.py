"""scikit-learn's own tests, with our classes in the place of theirs."""

import importlib
import inspect

import pytest
import sklearn.neural_network
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastmlp

pytestmark = [pytest.mark.compiled, pytest.mark.slow]

#: Tests that read scikit-learn's private names, each with the name it needs.
PRIVATE = {
    "test_gradient": "calls the private method _loss_grad_lbfgs with eight private buffers; "
    "test_devices.py::test_gradient_equals_central_difference holds the same law",
}


def their_tests():
    """scikit-learn's test module, loaded while our classes stand where it imports its own."""
    theirs = {
        name: getattr(sklearn.neural_network, name) for name in ("MLPClassifier", "MLPRegressor")
    }
    try:
        for name in theirs:
            setattr(sklearn.neural_network, name, getattr(fastmlp, name))
        module = importlib.import_module("sklearn.neural_network.tests.test_mlp")
        return importlib.reload(module)
    finally:
        for name, estimator in theirs.items():
            setattr(sklearn.neural_network, name, estimator)


MODULE = their_tests()
assert MODULE.MLPClassifier is fastmlp.MLPClassifier
assert MODULE.MLPRegressor is fastmlp.MLPRegressor
TESTS = {
    name: test
    for name, test in vars(MODULE).items()
    if name.startswith("test_") and inspect.isfunction(test)
}
for name, reason in PRIVATE.items():
    TESTS[name] = pytest.mark.skip(reason=reason)(TESTS[name])
globals().update(TESTS)


@pytest.fixture(params=[42])
def global_random_seed(request):
    """Stands for the fixture of this name in scikit-learn's own configuration."""
    return request.param


def test_count_of_their_tests(capsys):
    ran = len(TESTS) - len(PRIVATE)
    with capsys.disabled():
        print(f"\nscikit-learn's test_mlp.py: {ran} of {len(TESTS)} test functions run here")
    assert ran > 40


ESTIMATORS = [
    fastmlp.MLPClassifier(max_iter=20),
    fastmlp.MLPRegressor(max_iter=20),
    fastmlp.MLPClassifier(solver="lbfgs", max_iter=20),
]
CHECKS = [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)]


def check_name(value):
    return getattr(value, "func", value).__name__ if callable(value) else type(value).__name__


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=check_name)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_estimator_check(estimator, check):
    check(estimator)


def test_count_of_estimator_checks(capsys):
    """A tag can silently turn most checks off: say how many there are."""
    theirs = [
        pair
        for name in ("MLPClassifier", "MLPRegressor")
        for pair in estimator_checks_generator(getattr(sklearn.neural_network, name)(max_iter=20))
    ]
    with capsys.disabled():
        print(f"\nscikit-learn's estimator checks: {len(CHECKS)} run here")
    assert len(CHECKS) >= len(theirs)
