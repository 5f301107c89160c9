"""Files: a fitted estimator comes back the same, and nothing that a file says is believed."""

import contextlib
import io
import json
import pickle
import re
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from designs import covering
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from tasks import DEVICES, TASKS, outputs

import fastmlp
from fastmlp import FileError, MLPClassifier, MLPRegressor, losses, optimizers, schedules
from fastmlp.activations import (
    ELU,
    HIDDEN,
    OUTPUT,
    Custom,
    LeakyReLU,
    Maxout,
    PReLU,
    Swish,
)
from fastmlp.callbacks import EpochLog
from fastmlp.files import Decoder, Encoder, read, whole_file, write

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = Path(__file__).parent / "data"
#: Most of this is about files, so that the device without compiled code serves.
NUMPY = {"device": "reference", "random_state": 0}
WITH_PARAMETERS = [
    LeakyReLU(0.2),
    PReLU(0.1),
    ELU(0.7),
    Swish(1.5),
    Swish(learnable=True),
    Maxout(3),
]


def random_network(seed):
    """An estimator after one step, with random layers, functions, task and dtype; and rows."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice([np.float32, np.float64])
    hidden = tuple(rng.integers(1, 9, rng.integers(0, 4)).tolist())
    kinds = [kind() for kind in HIDDEN.values()] + WITH_PARAMETERS
    settings = {"activation": [kinds[i] for i in rng.integers(len(kinds), size=len(hidden))]}
    if rng.random() < 0.4:
        settings["activation"] = str(rng.choice(["relu", "tanh", "logistic", "identity"]))
    X = rng.standard_normal((12, rng.integers(1, 6))).astype(dtype)
    target = rng.choice(["binary", "multiclass", "multilabel", "single", "several"])
    if target in ("single", "several"):
        names = [name for name in losses.REGRESSION if target == "single" or name != "quantile"]
        settings["loss"] = losses.resolve(str(rng.choice(names)))
        y = rng.random((12, 3) if target == "several" else 12).astype(dtype)
        fitting = [one for one in OUTPUT if settings["loss"].fits(OUTPUT[one]())]
        alone = [one for one in fitting if target == "several" or one != "softmax"]
        settings["output_activation"] = str(rng.choice(alone)) if rng.random() < 0.5 else None
        return _stepped(MLPRegressor, hidden, settings, X, y), X
    settings["loss"] = str(rng.choice(losses.CLASSIFICATION))
    y = {
        "binary": np.arange(12) % 2 == 0,
        "multiclass": np.array(["a", "bb", "c"])[np.arange(12) % 3],
        "multilabel": rng.integers(0, 2, (12, 4)),
    }[target]
    return _stepped(MLPClassifier, hidden, settings, X, y), X


def _stepped(kind, hidden, settings, X, y):
    known = {"classes": np.arange(4) if y.ndim == 2 else np.unique(y)}
    estimator = kind(hidden_layer_sizes=hidden, **settings, **NUMPY)
    return estimator.partial_fit(X, y, **(known if kind is MLPClassifier else {}))


def in_scikit_learn(estimator):
    """Whether scikit-learn has all functions of a network."""
    network = estimator._fitted_as
    names = {activation.name for activation in network.activation}
    few = len(names) <= 1 and names <= {"relu", "tanh", "logistic", "identity"}
    output = network.output_activation.name
    shares = len(getattr(estimator, "classes_", ())) > 2 and network.units[-1] == 3
    outputs = {"softmax"} if shares else {"identity", "tanh", "relu", "logistic", "softmax", "exp"}
    return few and output in outputs


@pytest.mark.parametrize("tens", range(20))
def test_random_networks_predict_the_same_from_a_file_and_in_scikit_learn(tens, tmp_path):
    for seed in range(10 * tens, 10 * tens + 10):
        estimator, X = random_network(seed)
        estimator.save(tmp_path / "network.npz", training=bool(seed % 2))
        again = fastmlp.load(tmp_path / "network.npz")
        for of in (X, X.astype(np.float64)):
            assert_array_equal(outputs(again, of), outputs(estimator, of))
            assert_array_equal(again.predict(of), estimator.predict(of))
        assert again.get_params() == estimator.get_params()
        if not in_scikit_learn(estimator):
            with pytest.raises(ValueError, match="lacks what this network has"):
                estimator.to_sklearn(training=False)
            continue
        theirs = estimator.to_sklearn(training=False)
        tolerance = 1e-5 if X.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(outputs(theirs, X), outputs(estimator, X), tolerance, tolerance)


# ---- going on -----------------------------------------------------------------------------------

#: What training goes on from: a solver with its schedule, and parameters that activations learn.
CONTINUED = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    "object": {"solver": optimizers.NAdam(beta_1=0.8), "learning_rate": schedules.Cosine(epochs=9)},
    "warm_up": {"solver": "lion", "learning_rate": schedules.WarmUp(schedules.StepDecay(every=2))},
    "plateau": {"learning_rate": schedules.Plateau(patience=1, threshold=10.0)},
    "generator": {"random_state": np.random.RandomState(3)},
    "prelu": {
        "activation": ["prelu", "tanh"],
        "weight_init": ([np.eye(7, 4), np.eye(4, 3), np.eye(3)], [[1] * 4, [0.5] * 3, [0] * 3]),
    },
}
AVERAGED = {
    "last": {},
    "ema": {"averaging": "ema"},
    "swa": {"averaging": "swa", "averaging_start": 0},
}
DROPPED = {
    "none": {},
    "some": {"dropout": np.array([0.3, 0.1]), "input_dropout": 0.2, "alpha": 1},
}


@covering(
    "name, averaged, dropped, how, device, dtype",
    CONTINUED,
    AVERAGED,
    DROPPED,
    ["partial_fit", "warm start", "early stopping"],
    DEVICES,
    [np.float32, np.float64],
)
def test_training_goes_on_to_the_same_bits(name, averaged, dropped, how, device, dtype, tmp_path):
    X, y, _ = TASKS["multiclass"].data(dtype)
    settings = {"hidden_layer_sizes": [4, 3], "max_iter": 4, "batch_size": 20, "random_state": 0}
    settings |= CONTINUED[name] | AVERAGED[averaged] | DROPPED[dropped]
    estimator = MLPClassifier(**settings, device=device)
    if how == "partial_fit":
        estimator.partial_fit(X, y, classes=np.unique(y)).partial_fit(X, y)
    else:
        estimator.set_params(warm_start=True, early_stopping=how == "early stopping")
        estimator.fit(X, y).fit(X, y)
    estimator.save(tmp_path / "network.npz", training=True)
    again = fastmlp.load(tmp_path / "network.npz")
    assert set(vars(again)) == set(vars(estimator))
    for one in (estimator, again):
        for _ in range(2):
            getattr(one, "partial_fit" if how == "partial_fit" else "fit")(X, y)
    assert_array_equal(outputs(again, X), outputs(estimator, X))
    for attribute in ("loss_curve_", "learning_rates_", "validation_scores_", "n_iter_", "t_"):
        assert getattr(again, attribute) == getattr(estimator, attribute), attribute


def test_without_its_training_the_file_is_small_and_training_begins_anew(tmp_path):
    X, y, _ = TASKS["squared_error"].data()
    estimator = MLPRegressor(hidden_layer_sizes=(50,), warm_start=True, max_iter=3, **NUMPY).fit(
        X, y
    )
    estimator.save(tmp_path / "small.npz")
    estimator.save(tmp_path / "large.npz", training=True)
    sizes = [(tmp_path / f"{name}.npz").stat().st_size for name in ("small", "large")]
    assert sizes[1] - sizes[0] > 2 * sum(weights.nbytes for weights in estimator.coefs_)
    again = fastmlp.load(tmp_path / "small.npz")
    assert_array_equal(again.fit(X, y).predict(X), estimator.fit(X, y).predict(X))
    again.partial_fit(X, y)


def test_everything_that_a_fit_knows_comes_back(tmp_path):
    import pandas as pd

    X = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 2)), columns=["a", "b"])
    y = np.array(["no", "yes"], object)[(X["a"] > 0).astype(int)]
    settings = {"class_weight": {"no": 2, "yes": 1.5}, "n_iter_no_change": np.inf}
    estimator = MLPClassifier((), max_iter=3, early_stopping=True, **settings, **NUMPY).fit(X, y)
    estimator.save(tmp_path / "network.npz")
    again = fastmlp.load(tmp_path / "network.npz")
    assert again.get_params() == estimator.get_params()
    assert_array_equal(again.predict(X), estimator.predict(X))
    assert again.classes_.tolist() == ["no", "yes"]
    with pytest.raises(ValueError, match="feature names"):
        again.predict(X[["b", "a"]])
    for name in ("n_iter_", "t_", "loss_", "best_iteration_", "validation_loss_curve_", "device_"):
        assert getattr(again, name) == getattr(estimator, name), name


def test_weights_set_by_hand(tmp_path):
    X = np.eye(2)
    by_hand = MLPClassifier((3,), "tanh", **NUMPY)
    by_hand.coefs_ = [np.ones((2, 3), np.int8), np.asfortranarray(np.arange(6.0).reshape(3, 2))]
    by_hand.intercepts_ = [np.zeros(3), np.ones(2, np.float32)]
    by_hand.classes_, by_hand.out_activation_ = np.array([3, 1]), "softmax"
    by_hand.n_layers_ = 3
    by_hand.save(tmp_path / "network.npz")
    again = fastmlp.load(tmp_path / "network.npz")
    assert_array_equal(outputs(again, X), outputs(by_hand, X))
    assert_array_equal(again.predict(X), by_hand.predict(X))


# ---- what is in a file --------------------------------------------------------------------------


def test_another_program_can_read_it(tmp_path):
    """As the format's documentation says, with NumPy alone, and without pickles."""
    X, y, _ = TASKS["multiclass"].data()
    estimator = MLPClassifier((5, 4), ["tanh", Maxout(2)], max_iter=2, **NUMPY).fit(X, y)
    estimator.save(tmp_path / "network.npz", training=True)
    with np.load(tmp_path / "network.npz", allow_pickle=False) as file:
        head, arrays = (
            json.loads(file["fastmlp.json"]),
            {name: file[name] for name in file.files[1:]},
        )
    assert (head["format"], head["version"]) == ("fastmlp network", 1)
    assert head["network"]["units"] == [7, 5, 4, 3]
    assert head["network"]["activation"][1] == {"activation": "maxout", "pieces": 2}
    assert head["labels"]["classes"]["values"] == [0, 10, 20]
    assert {name: (a.dtype.str, [*a.shape]) for name, a in arrays.items()} == {
        name: (entry["dtype"], entry["shape"]) for name, entry in head["arrays"].items()
    }
    first = np.tanh(X @ arrays["coefs_0"] + arrays["intercepts_0"])
    pieces = first @ arrays["coefs_1"] + arrays["intercepts_1"]
    z = pieces.reshape(-1, 2, 4).max(axis=1) @ arrays["coefs_2"] + arrays["intercepts_2"]
    powers = np.exp(z)
    shares = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, estimator.predict_proba(X), rtol=1e-12)


def test_the_same_estimator_makes_the_same_bytes(tmp_path):
    estimator, _ = random_network(1)
    for name in ("a", "b"):
        estimator.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


#: What the estimators of these files predicted when they were written; they go on training.
FORMAT_1 = {
    "classifier-1.npz": [["a", "a", "a"], [0.49655175, 0.13178, 0.3716682]],
    "regressor-1.npz": [[7.69113059, 7.05804201, 1.65827959], None],
}


@pytest.mark.parametrize("name", FORMAT_1)
def test_files_of_format_1_are_read_for_ever(name):
    X = np.array([[1.0, -2.0], [0.5, 0.25], [-3.0, 1.0]], np.float32)
    estimator = fastmlp.load(DATA / name)
    predictions, first = FORMAT_1[name]
    if first is None:
        np.testing.assert_allclose(estimator.predict(X), predictions, rtol=1e-5)
    else:
        assert estimator.predict(X).tolist() == predictions
        np.testing.assert_allclose(estimator.predict_proba(X)[0], first, rtol=1e-5)
    estimator.partial_fit(X, estimator.predict(X))
    assert estimator._optimizer.step == 4


# ---- what a file cannot hold --------------------------------------------------------------------


class Mine(MLPRegressor):
    pass


class Sawtooth(schedules.Schedule):
    pass


def _double(z):
    return 2 * z


def _two(z):
    return 2.0


@pytest.mark.parametrize(
    ("estimator", "complaint"),
    [
        (MLPRegressor(activation=Custom(_double, _two)), "activation.* no functions"),
        (MLPRegressor(learning_rate=Sawtooth()), "parameter_learning_rate .* objects of your own"),
        (MLPRegressor(scoring=lambda *_: 0.0), "parameter_scoring is .*Pickle"),
        (Mine(), "Mine is a class of your own"),
        (MLPRegressor(hidden_layer_sizes=(1,), tol=2**70), "64 bits"),
    ],
    ids=["activation", "schedule", "scorer", "class", "number"],
)
def test_what_no_file_holds(estimator, complaint, tmp_path):
    estimator.set_params(**NUMPY).partial_fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(FileError, match=complaint):
        estimator.save(tmp_path / "network.npz")
    assert not list(tmp_path.iterdir())


def test_no_callbacks_and_no_metadata_requests_are_kept(tmp_path):
    estimator, X = random_network(0)
    plain = set(vars(estimator))
    with config_context(enable_metadata_routing=True):
        estimator.set_callbacks(EpochLog()).set_fit_request(X_val=True)
    assert set(vars(estimator)) > plain
    estimator.save(tmp_path / "network.npz", training=True)
    again = fastmlp.load(tmp_path / "network.npz")
    assert set(vars(again)) == plain
    assert_array_equal(outputs(again, X), outputs(estimator, X))


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        MLPRegressor().save(tmp_path / "network.npz")
    estimator, _ = random_network(0)
    with pytest.raises(FileNotFoundError, match="no folder"):
        estimator.save(tmp_path / "nowhere" / "network.npz")
    with pytest.raises(ValueError, match="'alpha' parameter"):
        estimator.set_params(alpha=-1).save(tmp_path / "network.npz")
    estimator.set_params(alpha=0.0)
    estimator.n_features_in_ += 1
    with pytest.raises(FileError, match="n_features_in_ is"):
        estimator.save(tmp_path / "network.npz")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"after", None])
    assert path.read_text() == "before"
    with whole_file(path, mode=0o600) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]


# ---- damaged and hostile files ------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file that uses much of the format, its rows, and its predictions."""
    X, y, _ = TASKS["multiclass"].data(np.float32)
    settings = {"averaging": "ema", "learning_rate": schedules.WarmUp(), "dropout": 0.1}
    settings["random_state"] = np.random.RandomState(0)
    estimator = MLPClassifier((4, 3), [PReLU(), ELU(0.5)], **NUMPY | settings)
    estimator.partial_fit(X, y, classes=np.unique(y))
    path = tmp_path_factory.mktemp("good") / "network.npz"
    estimator.save(path, training=True)
    return path.read_bytes(), X, y, outputs(estimator, X)


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, **settings):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **settings) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def rezipped(parts, head):
    """A file whose text has the checksums of its arrays, so that the other checks are reached."""
    for name, entry in head["arrays"].items():
        entry["crc32"] = zlib.crc32(parts[f"{name}.npy"])
    return zipped(parts | {"fastmlp.json": json.dumps(head)})


def with_objects(parts):
    return rezipped(parts | {"coefs_0.npy": OBJECTS}, json.loads(parts["fastmlp.json"]))


def flipped(rng, content):
    damaged = bytearray(content)
    for at in rng.integers(len(damaged), size=rng.integers(1, 4)):
        damaged[at] ^= rng.integers(1, 256)
    return bytes(damaged)


def cut(rng, content):
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:start] if rng.random() < 0.5 else content[:start] + content[end:]


def zeroed(rng, content):
    start, length = rng.integers(len(content)), rng.integers(1, 500)
    return content[:start] + bytes(min(length, len(content) - start)) + content[start + length :]


def swapped(rng, content):
    parts = members(content)
    names = [*parts]
    a, b = rng.choice(names[1:], 2, replace=False)
    parts[a], parts[b] = parts[b], parts[a]
    return zipped(parts)


ODD = [
    None,
    True,
    -1,
    0,
    2**62,
    2**63 - 1,
    1e308,
    "x",
    "../x",
    [],
    {},
    [[]],
    {"a": 1},
    {"tuple": 3},
]
ODD += [{"array": "coefs_0"}, {"schedule": "warm_up"}, {"random_state": {}}, {"dict": [[[], 1]]}]
ODD = np.array([*ODD, None], object)[:-1]  # of objects, whatever they are


def changed(rng, content, change):
    """One value of the JSON text, somewhere, is changed in its object or list."""
    parts = members(content)
    head = json.loads(parts["fastmlp.json"])
    place = head
    while True:
        key = rng.choice([*place]) if isinstance(place, dict) else int(rng.integers(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
            break
        place = place[key]
    change(place, key)
    return zipped(parts | {"fastmlp.json": json.dumps(head)})


def rewritten(rng, content):
    return changed(rng, content, lambda place, key: place.__setitem__(key, rng.choice(ODD)))


def removed(rng, content):
    return changed(rng, content, lambda place, key: place.pop(key))


def inflated(rng, content):
    """Shapes, and what the arrays say of themselves, are too large, or of another dtype."""
    parts = members(content)
    head = json.loads(parts["fastmlp.json"])
    name = rng.choice([*head["arrays"]])
    entry = head["arrays"][name]
    entry["shape"] = [int(2 ** rng.integers(30, 61)) for _ in entry["shape"]]
    if rng.random() < 0.3:
        entry |= {"dtype": str(rng.choice(["|O", "<f8", "<U9", "<c16", "<f4"]))}
    if rng.random() < 0.7:
        array = parts[f"{name}.npy"]
        text = str(
            {"descr": entry["dtype"], "fortran_order": False, "shape": tuple(entry["shape"])}
        )
        text = text.replace("}", ", }").encode().ljust(117) + b"\n"
        parts[f"{name}.npy"] = array[:8] + len(text).to_bytes(2, "little") + text + array[128:]
    if rng.random() < 0.3:
        head["network"]["units"] = [2**40 for _ in head["network"]["units"]]
    return rezipped(parts, head)


def loaded(path):
    """The estimator of a file, or the error."""
    try:
        return fastmlp.load(path)
    except FileError as error:
        return error


#: Words of Python's own errors, which say nothing to someone who has a file.
PYTHONS = re.compile(r"object|NoneType|subscript|iterable|unhashable|unpack|attribute ")


@pytest.mark.parametrize("damage", [flipped, cut, zeroed, swapped, inflated, rewritten, removed])
def test_damaged_files(damage, good, tmp_path):
    """Each of 560 is an error that names the file, or predicts and trains; in bounded memory."""
    content, X, y, expected = good
    path = tmp_path / "network.npz"
    errors = 0
    for seed in range(80):
        path.write_bytes(damage(np.random.default_rng(seed), content))
        tracemalloc.start()
        result = loaded(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * len(content)
        if isinstance(result, FileError):
            assert str(result).startswith(str(path)), result
            assert not PYTHONS.search(str(result)), result
            errors += 1
            continue
        with np.errstate(all="ignore"):
            predicted = outputs(result, X)
            with contextlib.suppress(ValueError):  # parameters may be odd, as a user's may
                result.set_params(max_iter=1, verbose=0).partial_fit(X, y)
        if damage not in (rewritten, removed):
            assert_array_equal(predicted, expected)
    assert errors >= 20


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle in a file was read",)


def _saved(save, *arguments, **settings):
    file = io.BytesIO()
    save(file, *arguments, **settings)
    return file.getvalue()


OBJECTS = _saved(np.save, np.array([Bomb()], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda parts: zipped(parts | {"../../evil.npy": b""}), "not those that it names"),
        (with_objects, r"coefs_0.npy is not an array of shape \(7, 4\)"),
        (lambda parts: zipped(parts, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (lambda parts: zipped({"x.npy": b""}), "no member fastmlp.json"),
        (lambda parts: zipped(parts | {"fastmlp.json": b"[" * 10**5}), "damaged, or is not a file"),
        (lambda parts: zipped(parts | {"fastmlp.json": b" " * (2**22 + 1)}), "larger than"),
        (lambda parts: zipped(parts | {"fastmlp.json": b'{"format": "x"}'}), "not that of a"),
        (lambda parts: zipped(parts | {"fastmlp.json": b"[NaN]"}), "NaN, which is not JSON"),
        (lambda parts: zipped(parts | {"fastmlp.json": b"[1e999]"}), "1e999, which is not JSON"),
        (lambda parts: zipped(parts | {"fastmlp.json": b"1" * 9999}), "which is not JSON"),
        (lambda parts: zipped(parts)[:-10] + (2**22).to_bytes(4, "little") + bytes(6), "directory"),
        (lambda parts: zipped(parts) + b"more", "does not end as an archive"),
        (lambda parts: pickle.dumps(Bomb()), "does not end as an archive"),
        (lambda parts: _saved(np.savez, a=np.ones(3)), "no member fastmlp.json"),
        (lambda parts: b"", "does not end as an archive"),
    ],
)
def test_hostile_files(change, complaint, good, tmp_path):
    path = tmp_path / "network.npz"
    path.write_bytes(change(members(good[0])))
    with pytest.raises(FileError, match=complaint):
        fastmlp.load(path)


def test_members_of_one_name(good, tmp_path):
    path = tmp_path / "network.npz"
    path.write_bytes(good[0])
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("coefs_0.npy", b"")
    with pytest.raises(FileError, match="two of its members"):
        fastmlp.load(path)


def test_members_that_overlap(good, tmp_path):
    """Directory entries that share one place would make of a small file a large one."""
    parts = members(good[0]) | {f"x{i}.npy": b"" for i in range(30)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        first = archive.getinfo("coefs_0.npy")
        for name in parts:
            if name.startswith("x"):
                info = archive.getinfo(name)
                info.file_size = info.compress_size = len(good[0])
                info.header_offset = first.header_offset
    (tmp_path / "network.npz").write_bytes(file.getvalue())
    with pytest.raises(FileError, match="larger than the file"):
        fastmlp.load(tmp_path / "network.npz")


def test_newer_files(good, tmp_path):
    path = tmp_path / "network.npz"
    parts = members(good[0])
    head = json.loads(parts["fastmlp.json"])
    for change, complaint in (
        ({"version": 2}, "format 2, which a newer fastmlp has written.*Update"),
        ({"version": "1"}, "no version"),
        ({"class": "MLPTransformer"}, "its class is 'MLPTransformer': a newer"),
        ({"parameters": {"depth": 3}}, "no parameter 'depth'.*newer"),
        ({"parameters": {"alpha": -1}}, "contradicts itself: The 'alpha' parameter"),
        ({"outputs": "pair"}, "outputs are not 'pair'"),
    ):
        path.write_bytes(zipped(parts | {"fastmlp.json": json.dumps(head | change)}))
        with pytest.raises(FileError, match=complaint):
            fastmlp.load(path)
    path.write_bytes(zipped(parts | {"fastmlp.json": json.dumps(head | {"later": 1})}))
    assert_array_equal(outputs(fastmlp.load(path), good[1]), good[3])


@pytest.mark.parametrize(
    ("section", "change", "complaint"),
    [
        (None, {"parameters": [1]}, r"'parameters' in its text is \[1\]"),
        (None, {"training": None, "labels": {"type": "binary"}}, "'labels' in its text lacks 'cl"),
        (None, {"continuation": {}}, "there is a loss_curve_, but no no_improvement_count"),
        (None, {"feature_names": ["a"]}, "not a name for each feature"),
        ("network", {"units": [7]}, "widths of layers are"),
        ("network", {"units": [7, 2**40, 3, 3]}, "contradicts itself: There are weights of shapes"),
        ("network", {"units": [7, 4, 3, -3]}, "widths of layers are"),
        ("network", {"loss": {"loss": "squared_error", "x": 1}}, "is not a value"),
        (
            "network",
            {"activation": [{"activation": "custom"}] * 2},
            "there is no activation 'custom'",
        ),
        ("network", {"loss": {"loss": "huber", "delta": -1}}, "not a value: .*delta"),
        ("network", {"activation": [{"activation": "elu", "alpha": "1"}] * 2}, "alpha of 'elu'"),
        ("attributes", {"n_iter_": -1}, "n_iter_ is -1"),
        ("attributes", {"loss_": "low"}, "loss_ is 'low'"),
        ("attributes", {"n_outputs_": 4}, "n_outputs_ is 4, but the weights say 3"),
        ("attributes", {"device_": "abacus"}, "device_ is 'abacus'"),
        ("attributes", {"loss_curve_": {"array": "coefs_0"}}, "a curve is not a vector"),
        ("continuation", {"in_use": []}, r"in_use is \[\]"),
        ("attributes", {"loss_curve_": None}, "a curve is not a vector"),
        ("attributes", {"validation_scores_": {"array": "loss_curve_"}}, "no best_validation_sc"),
        ("continuation", {"dropout_seed": 2**32}, "dropout_seed is"),
        ("continuation", {"in_use": {"dict": [["depth", 3]]}}, "no parameter 'depth'"),
        ("continuation", {"in_use": {"dict": [["beta_1", "x"]]}}, "The 'beta_1' parameter"),
        ("continuation", {"in_use": {"dict": [["beta_1"]]}}, "not a list of keys and values"),
        (
            "labels",
            {"classes": {"dtype": "int64", "values": [0, 20, 10]}},
            "do not fit the outputs",
        ),
        (
            "labels",
            {"classes": {"dtype": "int8", "values": [0, 10, 200]}},
            "not of the dtype 'int8'",
        ),
        ("labels", {"classes": {"dtype": "int64", "values": [0, 1.5, 2]}}, "not of the dtype"),
        ("labels", {"classes": {"dtype": "str", "values": ["x" * 2**17] + [""] * 2**6}}, "memory"),
        (
            "training",
            {"last_weights": {"trained": 1}},
            "'trained' in 'last_weights' in 'training' ",
        ),
    ],
)
def test_texts_that_contradict_themselves(section, change, complaint, good, tmp_path):
    parts = members(good[0])
    head = json.loads(parts["fastmlp.json"])
    if section:
        head[section] |= change
    path = tmp_path / "network.npz"
    text = json.dumps(head if section else head | change)
    path.write_bytes(zipped(parts | {"fastmlp.json": text}))
    with pytest.raises(FileError, match=complaint):
        fastmlp.load(path)


def test_no_position_of_a_random_generator_is_beyond_its_key():
    encoder = Encoder()
    state = np.random.RandomState(5)
    form = encoder.value(state, "random_state")
    assert Decoder(encoder.arrays).value(form).randint(99) == state.randint(99)
    for pos in (-1, 625, 1.0):
        with pytest.raises(FileError, match="random generator"):
            Decoder(encoder.arrays).value(form | {"pos": pos})


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -0.0, 1e-300, np.inf, "μ", (1, (2.0, "x")), [], {3: "a", "b": [None]},
        losses.Quantile((0.1, 0.9)), schedules.WarmUp(schedules.Plateau(best=1.5)), Maxout(3),
        optimizers.AdamW(weight_decay=0.5), np.arange(3), np.array([["a"]])[0], np.float32(0.5),
    ],
    ids=str,
)  # fmt: skip
def test_values_come_back(value, tmp_path):
    encoder = Encoder()
    write(tmp_path / "x.npz", {"value": encoder.value(value, "value")}, encoder.arrays)
    head, arrays = read(tmp_path / "x.npz")
    again = Decoder(arrays).value(head["value"])
    assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value


@pytest.mark.parametrize(
    "value",
    [
        np.array([["a"]]), np.array([1j]), np.array([None]), np.zeros((1, 1, 1)), 1j, {1}, b"x",
        np.random.RandomState(np.random.PCG64(0)), np.array(["x" * 2**17] + [""] * 2**6),
        schedules.Schedule(), print,
    ],
    ids=type,
)  # fmt: skip
def test_values_that_no_file_holds(value):
    with pytest.raises(FileError, match=r"holds|more than a file can hold"):
        Encoder().value(value, "value")


def test_a_text_too_large(tmp_path):
    with pytest.raises(FileError, match="as NumPy arrays"):
        write(tmp_path / "x.npz", {"value": [0.1] * 2**20}, {})


# ---- pickles of another version -----------------------------------------------------------------


def test_pickles_of_another_version_warn(monkeypatch):
    estimator, X = random_network(2)
    content = pickle.dumps(estimator)
    assert_array_equal(outputs(pickle.loads(content), X), outputs(estimator, X))
    monkeypatch.setattr("fastmlp.estimators.portable.__version__", "9.9.9")
    with pytest.warns(InconsistentVersionWarning, match=r"fastmlp\.MLP.* version 0.* using .*9\.9"):
        again = pickle.loads(content)
    assert not hasattr(again, "_fastmlp_version")
    state = {name: value for name, value in estimator.__getstate__().items() if name[0] != "_"}
    with pytest.warns(InconsistentVersionWarning, match=r"pre-0\.1\.0"):
        type(estimator).__new__(type(estimator)).__setstate__(state)
