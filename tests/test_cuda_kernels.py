"""Every CUDA kernel, compiled without a GPU: it stays in registers and in its dtype."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_compiler import AMPERE, GPUS, HOPPER, compiled, missing
from designs import covering
from numba import boolean, from_dtype, int32, int64
from numba.types import NamedTuple

from fastmlp import _cache
from fastmlp.activations import Custom, Maxout, Swish
from fastmlp.devices.functions import Own
from fastmlp.network import Network
from fastmlp.predictor import PAIR, SHARES
from fastmlp.regularization import Regularization

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.slow,
    pytest.mark.no_cover,  # the simulator shows which lines run
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

if not missing():
    from numba.cuda.dispatcher import _Kernel as Kernel

    from fastmlp.devices.cuda import (
        block,
        cluster,
        layout,
        phases,
        products,
        shared,
        single_block,
        tensor,
        tiles,
        toolkit,
        value,
    )
    from fastmlp.devices.cuda.elements import Kind

#: What most networks are, and all that code depends on at once.
PLAIN = {
    "activations": (("relu", False), ("softmax", False)),
    "softmax": True,
    "loss": "log_loss",
    "canonical": True,
    "dropping": False,
    "optimizer": "adam",
}
FULL = {
    "activations": (("gelu", False), ("swish", True), ("maxout", False), ("softmax", False)),
    "softmax": True,
    "loss": "poisson",
    "canonical": False,
    "dropping": True,
    "optimizer": "sgd",
}
KINDS = {"plain": PLAIN, "full": FULL}
DTYPES = [np.float32, np.float64]


EVERY_TILE = [] if missing() else [
    (dtype, tile) for dtype in (np.float32, np.float64)
    for tile in tiles.TILES[np.dtype(dtype).itemsize]
]  # fmt: skip


def kind_of(name, dtype):
    return Kind(np.dtype(dtype), **KINDS[name])


def types_of(dtype):
    """Numba's types of the arguments that kernels have in common."""
    real = from_dtype(np.dtype(dtype))
    vector, matrix = real[::1], real[:, ::1]
    position, order = int64[::1], int64[::1]
    network = position, int64[:, ::1], matrix, vector, vector
    return real, vector, matrix, position, order, network


def phase_signatures(dtype):
    """Of each kernel that does not multiply, by name."""
    real, vector, matrix, position, order, network = types_of(dtype)
    penalised = copies = size = index = int64
    sums = vector, matrix, penalised, copies, vector
    update = position, vector, vector, vector, *sums, vector, real, matrix
    return {
        "gather": (*network, matrix, order),
        "choose_pieces": (*network, index),
        "judge": (*network, matrix, vector, order, vector, real, vector, boolean),
        "measure": (position, vector, vector, matrix, penalised, copies, vector),
        "update": update,
        "limit_norms": (int64[:, ::1], matrix, vector, index, real),
        "collect": (vector, copies, size),
    }


def assert_stays_in_registers(code, dtype, registers):
    assert (code.spills, code.stack, code.local) == (0, 0, 0)
    assert code.registers <= registers
    assert (code.fp64 == 0) == (dtype == np.float32)
    assert ".approx.f32" not in code.ptx


@covering("kind, dtype, cc", KINDS, DTYPES, GPUS)
def test_phases(kind, dtype, cc):
    """Each a kernel of blocks of 256 threads, of which a multiprocessor holds several."""
    kernels = phases.kernels(kind_of(kind, dtype))
    for name, signature in phase_signatures(dtype).items():
        code = compiled(getattr(kernels, name), signature, cc)
        assert (code.spills, code.stack, code.local) == (0, 0, 0), name
        assert code.registers <= 128, name
        if dtype == np.float32:
            assert code.fp64 == 0, name
        assert ".approx.f32" not in code.ptx, name


#: The kernels that multiply, and whether each is the first layer's: it reads rows where they are.
WAYS = [
    ("forward", True), ("forward", False), ("backward", False), ("gradient", True),
    ("gradient", False),
]  # fmt: skip


def maker_of(verb, in_place, dtype):
    """What makes such a kernel, with which choices, and the types of the kernel's arguments.

    The first layer's is also the last one here.
    """
    _, vector, matrix, position, order, network = types_of(dtype)
    judged = matrix, vector, order, vector, from_dtype(np.dtype(dtype)), vector, boolean
    tables = position, int64[:, ::1], matrix, vector, vector
    return {
        "forward": (
            products.forward_kernel, (in_place, in_place), (*network, int64, vector, *judged),
        ),
        "backward": (products.backward_kernel, (), (*network, int64)),
        "gradient": (
            products.gradient_kernel, (in_place,), (*tables, int64, boolean, vector, order),
        ),
    }[verb]  # fmt: skip


def compiled_product(made, tile, verb, in_place, cc):
    make, choices, signature = maker_of(verb, in_place, made.dtype)
    return compiled(make(made, tile, *choices), signature, cc)


def kinds_of_inputs(verb, in_place):
    """How many there are, each with a loop of its own."""
    return 2 if in_place and verb == "gradient" else 1


@covering("dtype tile, verb in_place, kind, cc", EVERY_TILE, WAYS, KINDS, GPUS)
def test_products(dtype, tile, verb, in_place, kind, cc):
    made = kind_of(kind, dtype)
    code = compiled_product(made, tile, verb, in_place, cc)
    blocks = 8 // made.dtype.itemsize
    assert_stays_in_registers(code, dtype, min(255, 65536 // (blocks * tile.threads)))
    assert code.shared <= 48 << 10
    # Several steps are unrolled; both factors come out of shared memory by sixteen bytes.
    steps = min(tiles.UNROLLED // tile.square, tile.depth // tile.groups)
    loads = steps * 2 * tile.square * made.dtype.itemsize // 16
    assert code.count("LDS.128") == kinds_of_inputs(verb, in_place) * loads
    assert code.count("FFMA" if dtype == np.float32 else "DFMA") >= steps * tile.square**2


#: HMMA in a loop's body, by precision: each pass of a warp's sums over a depth of 8, or of 16.
PASSES = {"float32": 3, "tf32": 1, "bf16": 1}


@covering(
    "verb in_place aligned, precision, sides, kind, cc",
    # Only rows can lie at places that are no multiples of four.
    [(*way, True) for way in WAYS] + [(*way, False) for way in WAYS if way[1]],
    PASSES, [] if missing() else tensor.SIDES, KINDS, GPUS,
)  # fmt: skip
def test_products_on_tensor_cores(verb, in_place, aligned, precision, sides, kind, cc):
    made, tile = kind_of(kind, np.float32), tensor.TensorTile(*sides, precision, aligned)
    code = compiled_product(made, tile, verb, in_place, cc)
    assert_stays_in_registers(code, np.float32, 255)
    assert code.shared <= 48 << 10
    both = kinds_of_inputs(verb, in_place)
    step = both * PASSES[precision] * (tile.high // 16) * (tile.wide // 8)
    assert code.count("HMMA") in (step, 2 * step)  # if the steps of a slice are unrolled
    copied = both * tile.depth * (tile.rows + tile.columns) // tile.threads
    assert code.count("LDGSTS") == copied // (4 if aligned else 1)


#: The kernels in which blocks train a small network in their shared memory, with a GPU for each.
IN_BLOCKS = [] if missing() else [
    *((single_block.single_block, cc) for cc in GPUS), (cluster.cluster, HOPPER),
]  # fmt: skip


@covering("kind, dtype, make cc", KINDS, DTYPES, IN_BLOCKS)
def test_blocks(kind, dtype, make, cc):
    real, vector, matrix, _, order, _ = types_of(dtype)
    made = kind_of(kind, dtype)
    signature = (
        int64[:, ::1], int32[:, :, ::1], real[:, :, ::1], int32[::1], matrix, matrix, matrix,
        matrix, real, matrix, matrix, vector, order, matrix, real, matrix, int32, int32,
    )  # fmt: skip
    code = compiled(make(made), signature, cc)
    threads = block.threads_of(made)
    assert_stays_in_registers(code, dtype, 65536 // threads // 8 * 8)
    if make is cluster.cluster:
        # Two barriers a batch, and one if gradients are clipped; all loads of a sum in flight.
        assert code.count("UCGABAR_WAIT") == 3
        assert code.count("LD.E") >= cluster.BLOCKS
        assert code.shared == (threads + cluster.BLOCKS) * made.dtype.itemsize
    # Forward, backward and gradients: all else in these loops is little.
    multiply, most = ("FFMA", 1.6) if dtype == np.float32 else ("DFMA", 1.9)
    products = [loop for loop in code.inner_loops if loop["LDS.128"] >= 4 and loop[multiply] >= 16]
    assert len(products) == 3
    for loop in products:
        assert loop.total() <= most * loop[multiply]
        assert loop["LDS"] + loop["LDS.64"] == 0


WIDTHS = [(32, 100, 2), (8, 16, 2), (7, 5, 9, 1), (2, 400, 3)]


@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", WIDTHS, ids=str)
def test_shared_memory(units, dtype, blocks, monkeypatch):
    """Of Hopper's 227 KB for a block, no byte more is asked for, and every number has its place."""
    monkeypatch.setattr(block, "shared_memory", lambda: 227 << 10)
    network = Network(units, (Swish(learnable=True),) * (len(units) - 2), "squared_error")
    activations = [layout.kind_of(a) for a in (*network.activation, network.output_activation)]
    kind = kind_of("plain", dtype)._replace(activations=tuple(activations))
    for batch in (1, 33, 200, 5000):
        rows = block.block_rows(kind, network, batch, blocks)
        assert 0 < rows <= -(-batch // blocks)
        plan = shared.shared_layout(network, activations, dtype, rows, Regularization())
        bytes_held = (plan.size + block.threads_of(kind) + blocks) * kind.dtype.itemsize
        assert bytes_held <= 227 << 10
    assert len(set(plan.places.tolist())) == network.size
    assert plan.places.max() < plan.parameters_size
    columns = dict(zip(layout.Layer._fields, plan.layers.T, strict=False))
    vector = shared.VECTOR // kind.dtype.itemsize
    for name in ("outputs_stride", "stride", "weights_stride"):
        strides = columns[name][name != "outputs_stride" :]
        assert (strides % (2 * vector) == vector).all()


def test_kernels_are_kept_on_disk(monkeypatch, tmp_path):
    """What one process keeps, another one takes up: under the name, as closures have no other."""
    device = SimpleNamespace(compute_capability=AMPERE)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    context = SimpleNamespace(device=device)
    monkeypatch.setattr("numba.cuda.cudadrv.devices.get_context", lambda: context)
    monkeypatch.setattr(toolkit, "gpu", lambda: device)
    monkeypatch.setattr(toolkit, "driver_version", lambda: 13000)
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_cache, "CACHE", _cache.CacheFolders())
    signature = phase_signatures(np.float32)["collect"]
    compiled = phases.kernels(kind_of("plain", np.float32)).collect
    options = compiled.targetoptions
    assert not options["lto"]  # or a GPU would run other code than what these tests look at
    kernel = Kernel(compiled.py_func, signature, **options)
    code = kernel.library.get_cubin(cc=AMPERE).code
    compiled._cache.save_overload(signature, kernel)
    ((name, file),) = _cache.CACHE.files().items()
    assert name.startswith("cuda.collect-float32-")
    other = toolkit.KernelCache(compiled._cache._name)
    again = other.load_overload(signature, compiled.targetctx)
    assert again.library.get_cubin(cc=AMPERE).code == code
    assert other.load_overload(signature[:1], compiled.targetctx) is None
    file.write_bytes(file.read_bytes()[:-1])
    assert other.load_overload(signature, compiled.targetctx) is None


def test_own_functions_are_not_kept_on_disk():
    own = Own.of(Custom(lambda z: z, lambda z: 1.0))
    assert kind_of("plain", np.float32).name
    for changed in ({"loss": own}, {"activations": (own,)}):
        assert Kind(np.dtype(np.float32), **PLAIN | changed).name is None


def test_a_spill_would_be_seen():
    """The same kernel for more threads than there are registers for."""
    kind = kind_of("full", np.float64)
    large = tiles.TILES[8][0]
    make, choices, signature = maker_of("forward", True, np.float64)
    kernel = make(kind, large, *choices)
    kernel.targetoptions["launch_bounds"] = 1024
    try:
        assert compiled(kernel, signature, AMPERE).spills > 0
    finally:
        kernel.targetoptions["launch_bounds"] = (large.threads, 1)


def test_few_blocks_are_no_reason_for_a_warning():
    """numba-cuda warns of launches that leave most of a GPU idle, by a class of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        toolkit.configured(toolkit.kernel(32)(lambda: None), 1, 32, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [PAIR, SHARES])
def test_a_predictor_in_a_kernel_of_the_user(form, dtype):
    outputs, loss = (1, "binary_log_loss") if form == PAIR else (3, "log_loss")
    kinds = "gelu", Swish(learnable=True), Maxout(3)
    network = Network((4, 8, 8, 8, outputs), kinds, loss)
    predict, gradient, _ = value.functions_of(network, np.dtype(dtype), form)

    def kernel(data, X, out, slopes):
        row = toolkit.cuda.grid(1)
        if row < len(X):
            predict(data, X[row], out[row])
            gradient(data, X[row], slopes[row], 0)

    _, vector, matrix, *_ = types_of(dtype)
    data = NamedTuple([vector, int64[:, ::1], matrix], value.Data)
    code = compiled(kernel, (data, matrix, matrix, matrix), AMPERE)
    assert code.spills == 0
    assert dtype == np.float64 or code.fp64 == 0
