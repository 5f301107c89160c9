"""Small kernels, to see that the stand-in computes what a GPU does, and refuses what it refuses.

They print a line of JSON for each result, for test_stand_in.py to judge.
"""

import json
import os
import tempfile

import numpy as np
from llvmlite import ir
from numba import float32, types, uint32
from numba.cuda.extending import intrinsic

from fastmlp.devices.cuda import toolkit
from fastmlp.devices.cuda.toolkit import cuda

from . import inside

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
WARP = 32


def ptx(text, constraints, result, *parameters):
    """Return an intrinsic that is a piece of PTX; a result of several registers is a tuple."""
    kinds = {float32: F32, uint32: I32, types.int64: I64, types.void: ir.VoidType()}
    several = isinstance(result, types.UniTuple)
    kind = ir.LiteralStructType([kinds[result.dtype]] * len(result)) if several else kinds[result]
    function = ir.FunctionType(kind, [kinds[parameter] for parameter in parameters])

    def generate(context, builder, signature, arguments):
        asm = ir.InlineAsm(function, text, constraints, side_effect=True)
        value = builder.call(asm, arguments)
        if several:
            parts = [builder.extract_value(value, i) for i in range(len(result))]
            return context.make_tuple(builder, result, parts)
        return context.get_dummy_value() if result == types.void else value

    names = ", ".join(f"a{i}" for i in range(len(parameters)))
    signature = result(*parameters)
    return intrinsic(eval(f"lambda typing, {names}: out", {"out": (signature, generate)}))


@intrinsic
def shared_address(typing, array):
    """Return the 32-bit address of a shared array."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.addrspacecast(data, ir.PointerType(F32, 3)), I32)

    return uint32(array), generate


@intrinsic
def global_address(typing, array):
    """Return the address of a global array."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, I64)

    return types.int64(array), generate


FOUR = types.UniTuple(float32, 4)
load_four = ptx("ld.shared.v4.f32 {$0,$1,$2,$3}, [$4];", "=f,=f,=f,=f,r", FOUR, uint32)
store_four = ptx(
    "st.shared.v4.f32 [$0], {$1,$2,$3,$4};", "r,f,f,f,f", types.void, uint32, *[float32] * 4
)
copy_four = ptx(
    "cp.async.cg.shared.global [$0], [$1], 16;", "r,l,~{memory}", types.void, uint32, types.int64
)
commit = ptx("cp.async.commit_group;", "~{memory}", types.void)
wait_all_but_one = ptx("cp.async.wait_group 1;", "~{memory}", types.void)
wait_all = ptx("cp.async.wait_group 0;", "~{memory}", types.void)
of_lane = ptx("shfl.sync.bfly.b32 $0, $1, $2, 31, -1;", "=f,f,r", float32, float32, uint32)
round_to_tf32 = ptx("cvt.rna.tf32.f32 $0, $1;", "=r,f", uint32, float32)
pack_bf16 = ptx("cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", uint32, float32, float32)
multiply_tf32, multiply_bf16 = (
    ptx(
        f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 {{$0,$1,$2,$3}}, "
        "{$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
        "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", FOUR, *[uint32] * 6, *[float32] * 4,
    )
    for shape, kind in (("m16n8k8", "tf32"), ("m16n8k16", "bf16"))
)  # fmt: skip
rank = ptx("mov.u32 $0, %cluster_ctarank;", "=r", uint32)
in_block = ptx("mapa.shared::cluster.u32 $0, $1, $2;", "=r,r,r", uint32, uint32, uint32)
load_of_cluster = ptx("ld.shared::cluster.f32 $0, [$1];", "=f,r", float32, uint32)
arrive = ptx("barrier.cluster.arrive.release.aligned;", "~{memory}", types.void)
wait = ptx("barrier.cluster.wait.acquire.aligned;", "~{memory}", types.void)
unheard_of = ptx("frobnicate.sync.aligned.f32 $0, $1;", "=f,f", float32, float32)


@cuda.jit(lto=False)
def fours(x, y):
    """Through shared memory, four numbers at a time, in the reverse order of fours."""
    held = cuda.shared.array(128, float32, alignment=16)
    address, i = shared_address(held), cuda.threadIdx.x
    store_four(uint32(address + 16 * i), x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3])
    cuda.syncthreads()
    four = load_four(uint32(address + 16 * (31 - i)))
    for k in range(4):
        y[4 * i + k] = four[k]


@cuda.jit(lto=False)
def copies(x, y, early):
    """Two groups of copies, of which one or both are waited for."""
    held = cuda.shared.array((2, 128), float32, alignment=16)
    address, source = shared_address(held), global_address(x)
    i = cuda.threadIdx.x
    for group in range(2):
        copy_four(uint32(address + 512 * group + 16 * i), source + 512 * group + 16 * i)
        commit()
    if early:
        wait_all_but_one()
    else:
        wait_all()
    cuda.syncthreads()
    for k in range(4):
        for group in range(2):
            y[128 * group + 4 * i + k] = held[group, 4 * i + k]


@cuda.jit(lto=False)
def sums(x, y):
    """The sum of a warp in each of its lanes."""
    total = x[cuda.threadIdx.x]
    for distance in (16, 8, 4, 2, 1):
        total += of_lane(total, uint32(distance))
    y[cuda.threadIdx.x] = total


@cuda.jit(lto=False)
def products(a, b, c):
    """C += A B, of 16 x 8 and 8 x 8 entries, by the lanes that the PTX manual says."""
    lane = cuda.threadIdx.x
    g, t = lane // 4, lane % 4
    d = multiply_tf32(
        round_to_tf32(a[g, t]), round_to_tf32(a[g + 8, t]),
        round_to_tf32(a[g, t + 4]), round_to_tf32(a[g + 8, t + 4]),
        round_to_tf32(b[t, g]), round_to_tf32(b[t + 4, g]),
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1],
    )  # fmt: skip
    c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = d


@cuda.jit(lto=False)
def deep_products(a, b, c):
    """C += A B, of 16 x 16 and 16 x 8 entries: two of the depth in a word."""
    lane = cuda.threadIdx.x
    g, t = lane // 4, lane % 4
    k = 2 * t
    d = multiply_bf16(
        pack_bf16(a[g, k], a[g, k + 1]), pack_bf16(a[g + 8, k], a[g + 8, k + 1]),
        pack_bf16(a[g, k + 8], a[g, k + 9]), pack_bf16(a[g + 8, k + 8], a[g + 8, k + 9]),
        pack_bf16(b[k, g], b[k + 1, g]), pack_bf16(b[k + 8, g], b[k + 9, g]),
        c[g, k], c[g, k + 1], c[g + 8, k], c[g + 8, k + 1],
    )  # fmt: skip
    c[g, k], c[g, k + 1], c[g + 8, k], c[g + 8, k + 1] = d


@cuda.jit(lto=False)
def neighbours(y):
    """Each block of a cluster reads what the next one has in its shared memory."""
    held = cuda.shared.array(WARP, float32)
    i, own, blocks = cuda.threadIdx.x, rank(), cuda.gridDim.x
    held[i] = 100 * own + i
    arrive()
    wait()
    other = uint32((own + 1) % blocks)
    address = in_block(uint32(shared_address(held) + 4 * i), other)
    y[own, i] = load_of_cluster(address)
    arrive()
    wait()


def launch_cluster(kernel, blocks, threads, *arguments):
    """Launch one cluster: numba-cuda's own launches know of none."""
    from cuda.core import Device, LaunchConfig, launch

    types_ = tuple(map(kernel.typeof_pyval, arguments))
    function = kernel.compile(types_).library.get_cufunc()
    flat = []
    for array in arguments:
        shape = (*array.shape, *array.strides)
        flat += [0, 0, array.size, array.dtype.itemsize, array.device_ctypes_pointer.value, *shape]
    config = LaunchConfig(grid=1, cluster=blocks, block=threads)  # a grid of clusters
    launch(Device(0).default_stream, config, function.kernel, *map(np.int64, flat))


def results():
    """Run each kernel in all orders; say where it is not what NumPy computes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(256, dtype=np.float32)
    # Integers of few bits, so that products have no rounding.
    a, b, c = (
        rng.integers(-9, 9, shape).astype(np.float32) for shape in ((16, 16), (16, 8), (16, 8))
    )
    flat, low = np.ascontiguousarray(a[:, :8]), b[:8]
    pair = np.arange(WARP) + 100 * (np.arange(4)[:, None] + 1) % 400
    early = np.where(np.arange(256) < 128, x, np.nan)
    for name, work, expected in (
        ("fours", lambda y: fours[1, 32](x[:128], y), x[:128].reshape(32, 4)[::-1].ravel()),
        ("copies", lambda y: copies[1, 32](x, y, False), x),
        ("copies, early", lambda y: copies[1, 32](x, y, True), early),
        ("sums", lambda y: sums[1, 32](x[:32], y), np.full(32, x[:32].sum(dtype="f8"))),
        ("products", lambda y: products[1, 32](flat, low, y), flat @ low + c),
        ("deep products", lambda y: deep_products[1, 32](a, b, y), a @ b + c),
        ("neighbours", lambda y: launch_cluster(neighbours, 4, WARP, y), pair),
    ):
        wrong = []
        for order in inside.ADVERSARIAL:
            inside.orders(*order)
            start = c if "products" in name else np.zeros(expected.shape, np.float32)
            out = cuda.to_device(np.ascontiguousarray(start))
            work(out)
            host = out.copy_to_host()
            if not np.allclose(host, expected, rtol=1e-5, atol=1e-5, equal_nan=True):
                wrong.append([order, str(host.ravel()[:8])])
        say(kernel=name, wrong=wrong)


# ---- what is refused -----------------------------------------------------------------------------


@cuda.jit(lto=False)
def write_at(x, i):
    """Write one number, wherever it is."""
    x[i] = 1


@cuda.jit(lto=False)
def write_shared_at(x, i):
    """Write one number beyond shared memory's."""
    held = cuda.shared.array(8, float32)
    held[i + cuda.threadIdx.x] = 1
    cuda.syncthreads()
    x[0] = held[0]


@cuda.jit(lto=False)
def half_meet(x):
    """Only half of the threads come to the barrier."""
    if cuda.threadIdx.x % 2:
        cuda.syncthreads()
    x[cuda.threadIdx.x] = 1


@cuda.jit(lto=False)
def unknown(x):
    """An instruction that does not exist."""
    x[0] = unheard_of(x[0])


class Foreign:
    """An array that says where it is, and does not keep that memory."""

    def __init__(self, array):
        self.__cuda_array_interface__ = dict(array.__cuda_array_interface__)


def beyond_the_end():
    write_at[1, 1](cuda.device_array(10, np.float32), 1000)
    cuda.synchronize()


def beyond_shared_memory():
    write_shared_at[1, 4](cuda.device_array(1, np.float32), 6)
    cuda.synchronize()


def freed_memory():
    array = cuda.device_array(10, np.float32)
    foreign = cuda.as_cuda_array(Foreign(array))
    del array
    toolkit.release_memory()
    write_at[1, 1](foreign, 0)
    cuda.synchronize()


def a_barrier_of_some():
    half_meet[1, 4](cuda.device_array(4, np.float32))
    cuda.synchronize()


def too_many_threads():
    toolkit.configured(toolkit.kernel(32)(write_at.py_func), 1, 64, 0)(np.zeros(9, "f4"), 0)


def too_much_shared_memory():
    write_at[1, 1, 0, 100_000](cuda.device_array(1, np.float32), 0)


def a_host_that_waits_in_a_capture():
    graph = toolkit.Graph(toolkit.new_stream())
    with graph.recorded():
        cuda.synchronize()


def pageable_memory_in_a_capture():
    array, stream = cuda.device_array(4, np.float32), toolkit.new_stream()
    with toolkit.Graph(stream).recorded():
        array.copy_to_device(np.zeros(4, np.float32), stream=stream)


def an_unknown_instruction():
    unknown[1, 1](cuda.device_array(1, np.float32))


MISUSES = (
    beyond_the_end, beyond_shared_memory, freed_memory, a_barrier_of_some, too_many_threads,
    too_much_shared_memory, a_host_that_waits_in_a_capture, pageable_memory_in_a_capture,
    an_unknown_instruction,
)  # fmt: skip


def misuses():
    """Do each in a process of its own, which it may end; say what it says."""
    for misuse in MISUSES:
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if child == 0:
                os.dup2(said.fileno(), 2)
                try:
                    misuse()
                except Exception as error:
                    os.write(2, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.waitpid(child, 0)
            said.seek(0)
            say(misuse=misuse.__name__, said=said.read())


def everything():
    results()
    misuses()


def say(**result):
    print(json.dumps(result), flush=True)
