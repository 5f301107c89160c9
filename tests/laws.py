"""What several test modules share about devices: tables, data, and how a device is judged.

A law holds for every row of a table. `tasks.py` has the same for estimators.
"""

import platform
from dataclasses import replace

import numpy as np
from llvmlite import binding
from numba.core import config
from scipy import sparse

from fastmlp import activations, devices, losses, optimizers
from fastmlp._jit import JIT_DISABLED, called
from fastmlp.devices.cpu.vectors import VECTORS, lanes
from fastmlp.formulas import elementary
from fastmlp.regularization import Regularization
from fastmlp.schedules import Constant
from fastmlp.training import OptimizerState, Rows

# ---- tables --------------------------------------------------------------------------------------

# Every kind with its literature's constant, and those whose constants do something else.
ACTIVATIONS = [
    *(kind() for kind in dict.fromkeys(activations.HIDDEN.values())),
    activations.LeakyReLU(0.3),
    activations.ELU(0.5),
    activations.Swish(beta=1.7, learnable=True),
    activations.Maxout(pieces=3),
]
LOSSES = [
    *(kind() for kind in losses.LOSSES.values()),
    losses.Quantile((0.1, 0.5, 0.9)),
    losses.Tweedie(1.9),
    losses.Focal(0.5),
    losses.BinaryFocal(0.0),
]
#: Pairs that are not canonical.
PAIRS = [
    ("squared_error", "logistic"),
    ("squared_error", "softmax"),
    ("squared_error", "gelu"),
    ("absolute_error", "tanh"),
    ("huber", "softmax"),
    ("poisson", "softplus"),
    ("gamma", "softplus"),
    ("tweedie", "softplus"),
    ("binary_log_loss", "hard_sigmoid"),
]
EVERYTHING = Regularization(
    l2=0.1, l1=0.02, weight_decay=0.1, clip_norm=0.3, max_norm=0.9, dropout=(0.2, 0.5, 0.1)
)
#: Limits need the whole gradient before the first update; without them, a batch is one pass.
REGULARIZED = {
    "penalty": Regularization(l2=0.01),
    "without limits": replace(EVERYTHING, clip_norm=np.inf, max_norm=np.inf),
    "everything": EVERYTHING,
}
#: The constants of the CUDA device by which it chooses each of its regimes, whatever the work is.
REGIMES = {
    "one block": {"SINGLE_BLOCK_WORK": np.inf, "CLUSTER_WORK": 0},
    "cluster": {"SINGLE_BLOCK_WORK": 0, "CLUSTER_WORK": np.inf},
    "many blocks": {"SINGLE_BLOCK_WORK": 0, "CLUSTER_WORK": 0},
}
#: The devices at hand that compile: all but the reference.
FAST = [name for name in devices.present() if name != "reference"]
DTYPES = [np.float32, np.float64]
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 1e-5}, np.float64: {"rtol": 1e-10, "atol": 1e-12}}
#: Columns of a panel of float32.
WIDE = VECTORS * lanes(np.float32)
#: Rows of a batch, and of the data of a law about formulas: the same numbers on every processor.
BATCH, FEW = 8, 21

# ---- ways in -------------------------------------------------------------------------------------


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def strided(X):
    wide = np.full((3 * len(X), 2 * X.shape[1]), np.nan, X.dtype)
    wide[1::3, ::2] = X
    return wide[1::3, ::2]


def unaligned(X):
    raw = np.empty(X.nbytes + 1, np.uint8)
    view = raw[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def other_dtype(X):
    return X.astype(np.float32 if X.dtype == np.float64 else np.float64)


def csr_64_bit(X):
    matrix = sparse.csr_matrix(X)
    matrix.indices, matrix.indptr = matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    return matrix


#: The forms in which an array of rows may come.
WAYS_IN = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "read_only": read_only,
    "strided": strided,
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "other_dtype": other_dtype,
    "strided_other_dtype": lambda X: strided(other_dtype(X)),
    "byte_order": lambda X: X.astype(X.dtype.newbyteorder()),
    "unaligned": unaligned,
    "csr": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csr_other_dtype": lambda X: sparse.csr_matrix(other_dtype(X)),
    "csr_64_bit": csr_64_bit,
}
#: Every one with each device that takes it: the CUDA device takes no sparse matrix.
EVERY_WAY_IN = [
    (device, way) for device in FAST for way in WAYS_IN if device != "cuda" or way[:3] != "csr"
]

# ---- data and devices ----------------------------------------------------------------------------


def make_data(network, rows, dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, network.units[0])).astype(dtype)
    outputs = network.units[-1]
    loss = network.loss
    if loss.cross_entropy and loss.for_labels != loss:
        targets = np.eye(outputs, dtype=bool)[rng.integers(0, outputs, rows)]
    elif loss.cross_entropy:
        targets = rng.random((rows, outputs)) < 0.5
    elif loss.lowest == 0 and not loss.strict:  # counts, or amounts that may be 0
        targets = rng.poisson(1.5, (rows, outputs)).astype(dtype)
    elif loss.lowest == 0:
        targets = rng.gamma(2, size=(rows, outputs)).astype(dtype)
    else:
        targets = rng.standard_normal((rows, outputs)).astype(dtype)
    return X, targets, (rng.random(rows) + 0.5).astype(dtype)


def make_parameters(network, dtype, seed=1):
    rng = np.random.default_rng(seed)
    parameters = np.empty(network.size)
    for weights, biases in zip(*network.views(parameters), strict=True):
        weights[...] = rng.standard_normal(weights.shape) / np.sqrt(len(weights))
        biases[...] = 0.3 * rng.standard_normal(biases.shape)
    for view in network.activation_views(parameters):
        if view is not None:
            view[...] = rng.uniform(-0.5, 1.5, view.shape)
    return parameters.astype(dtype)


def make_optimizer(name, parameters, **settings):
    rule = optimizers.resolve(name)
    moments = np.zeros((rule.moments, parameters.size), parameters.dtype)
    settings = {"schedule": Constant(0.01), "learning_rate": 0.01} | settings
    return OptimizerState(rule, moments=moments, **settings)


def run_epochs(
    device_name, network, data, optimizer="adam", batch_size=BATCH, epochs=2, **settings
):
    """Losses, parameters, moments and outputs after a few epochs in a shuffled order."""
    X, targets, weights = data
    dtype = settings.pop("dtype", X.dtype)
    parameters = make_parameters(network, dtype)
    settings = {
        "regularization": Regularization(l2=0.01),
        "dropout_seed": 7,
        "sparse": sparse.issparse(X),
    } | settings
    device = devices.load(device_name)(
        network,
        parameters,
        optimizer=make_optimizer(optimizer, parameters),
        batch_size=min(batch_size, X.shape[0]),
        **settings,
    )
    rng = np.random.default_rng(3)
    losses = [
        device.train(Rows(X, targets, weights), rng.permutation(X.shape[0])) for _ in range(epochs)
    ]
    outputs = device.forward(X, np.empty((X.shape[0], network.units[-1]), dtype))
    return losses, device.parameters(), device.moments(), outputs


def assert_equals_reference(device, network, data, close, **settings):
    results = run_epochs(device, network, data, **settings)
    expected = run_epochs("reference", network, data, **settings)
    for name, own, theirs in zip(
        ("losses", "parameters", "moments", "outputs"), results, expected, strict=True
    ):
        np.testing.assert_allclose(own, theirs, err_msg=name, **close)
        if name != "losses":
            assert own.dtype == theirs.dtype


# ---- elementary functions ------------------------------------------------------------------------

X86 = platform.machine() in {"x86_64", "AMD64"}
_FEATURES = config.CPU_FEATURES
if _FEATURES is None:
    _FEATURES = binding.get_host_cpu_features().flatten()
#: Whether a product and a sum are rounded once.
FUSED = JIT_DISABLED or not X86 or "+fma" in _FEATURES


def _loop(function):
    @called
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


#: A compiled loop over each function, by its name.
LOOPS = {
    name: _loop(getattr(elementary, name))
    for name in ("exp", "log", "tanh", "logistic", "erf", "normal_cdf")
}


def computed(name, x):
    """The function called `name` at every x."""
    y = np.full_like(x, 7)
    with np.errstate(all="ignore"):
        LOOPS[name](x, y)
    return y
