"""The interface to CUDA's Python packages; only this module and `simulator` import them.

It is imported only when a GPU is requested. With ``NUMBA_ENABLE_CUDASIM=1`` the same kernels run in
Numba's simulator: thread by thread, in plain Python, without a GPU.
"""

import pickle
import threading
import warnings
import weakref
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)
#: Threads that process a row together: a warp. The simulator's threads are Python threads.
LANES = 2 if SIMULATED else 32
#: Locks held while warning filters are changed, and while launches are recorded or waited for.
_WARNING, _RECORDING = threading.Lock(), threading.Lock()
#: The simulator runs one kernel at a time.
_SIMULATION = threading.Lock()

# NumPy 2.5 warns about functions that numba-cuda uses, and lacks row_stack, which numba-cuda
# registers an overload for.
_LACKING = not hasattr(np, "row_stack")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    if _LACKING:
        vars(np)["row_stack"] = np.vstack
    from numba import cuda

    if SIMULATED:
        from .simulator import Simulated

        cuda = Simulated(cuda)
    else:
        from cuda.bindings import driver as _driver
        from numba.cuda import dispatcher as _dispatcher
        from numba.cuda import extending as _extending
        from numba.cuda.np import arrayobj as _arrayobj  # noqa: F401
    if _LACKING:
        del vars(np)["row_stack"]

from ..._cache import DiskCache, keep  # noqa: E402


def device(function):
    """Compile a function that is inlined into kernels; the simulator uses it as it is."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def intrinsic(python):
    """Pair a function that builds LLVM's instructions with its equivalent in the simulator.

    It is None if the simulator has none.
    """
    return lambda build: python if SIMULATED else _extending.intrinsic(build)


class KernelCache(DiskCache):
    """One kernel's machine code on disk, like the CPU's in `DiskCache`.

    Kernels are closures over the functions that they apply. Numba's own cache considers these as
    new ones in every process; here, a name identifies them.
    """

    is_announced = False  # what is said is about the CPU: other times, and `warmup`

    def _key(self, signature, codegen):
        return signature, version("numba-cuda"), driver_version(), gpu().compute_capability

    def _rebuild(self, target_context, content):
        return _dispatcher._Kernel._rebuild(**pickle.loads(content))

    def _reduce(self, kernel):
        return pickle.dumps(kernel._reduce_states(), protocol=pickle.HIGHEST_PROTOCOL)


def kernel(threads, name=None, blocks=1):
    """Return a decorator for kernels of `threads` threads per block, cached on disk as `name`.

    Each thread may use so many registers that `blocks` blocks fit on a multiprocessor.
    """
    if SIMULATED:
        return cuda.jit

    def decorate(function):
        # Without link-time optimisation, the code is the same as an offline compiler's.
        dispatcher = cuda.jit(function, launch_bounds=(threads, blocks), lto=False)
        if name is not None:
            keep(dispatcher, KernelCache, name)
        return dispatcher

    return decorate


def configured(compiled, blocks, threads, stream, shared_bytes=0):
    """Return a function that launches a kernel with the given arguments."""
    if SIMULATED:

        def simulate(*arguments):
            with _SIMULATION:  # a kernel remembers only its last configuration
                compiled[blocks, threads, stream, shared_bytes](*arguments)

        return simulate
    # A small network fills only a few multiprocessors, and Numba warns about that. Warning filters
    # belong to the whole process: one thread at a time.
    with _WARNING, warnings.catch_warnings():
        # numba-cuda's own class: it no longer uses Numba's.
        warnings.simplefilter("ignore", _dispatcher.errors.NumbaPerformanceWarning)
        return compiled[blocks, threads, stream, shared_bytes]


def cluster_launch(compiled, count, blocks, threads, stream, shared_bytes, arguments):
    """Return the launch of a kernel in clusters of so many blocks.

    numba-cuda's own launches know of none: so this is what they do, once for all launches.
    """
    types = tuple(compiled.typeof_pyval(argument) for argument in arguments)
    made = compiled.compile(types)
    stream = configured(compiled, count, threads, stream, shared_bytes).stream
    wanted = _dispatcher.LaunchConfig(
        grid=count, cluster=blocks, block=threads, shmem_size=shared_bytes
    )  # a grid of clusters
    flat, written_back = [], []
    for kind, argument in zip(types, arguments, strict=True):
        made._prepare_args(kind, argument, stream, written_back, flat)
    function = made.library.get_cufunc().kernel

    def launch(kept=arguments):  # of them, `flat` has the addresses
        _dispatcher.launch(stream, wanted, function, *flat)

    return launch


def viewed(array, dtype):
    """Return the bytes of an array on the GPU as one of another dtype."""
    view = array.view(dtype)
    return type(array)(view) if SIMULATED else view


def allow_all_shared(compiled, arguments):
    """Let a kernel use all remaining shared memory: more than 48 KB must be requested.

    The request holds for every launch of the kernel with arguments of these types, by any thread.
    """
    if SIMULATED:
        return
    types = tuple(compiled.typeof_pyval(argument) for argument in arguments)
    function = compiled.compile(types).library.get_cufunc()
    attribute = _driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    most = shared_memory() - function.attrs.shared
    _checked(_driver.cuKernelSetAttribute(attribute, most, function.handle, gpu().id))


def _checked(result):
    """Return the values of a driver call; raise an error if it failed."""
    status, *values = result
    if status != _driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"The CUDA driver says {status!r}.")
    return values[0] if values else None


def new_stream():
    """Return a stream that waits for no other one, which recording requires."""
    if SIMULATED:
        return cuda.stream()
    cuda.current_context()  # the stream belongs to it
    handle = _checked(_driver.cuStreamCreate(_driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    stream = cuda.external_stream(int(handle))
    _at_end_of(stream, _driver.cuStreamDestroy, handle)
    return stream


def _at_end_of(thing, *call):
    """Make a driver call when an object is deleted, but not at exit: the driver is gone then."""
    weakref.finalize(thing, *call).atexit = False


class Graph:
    """Launches that the GPU repeats by itself, at a fraction of the host's time for each.

    Everything launched into `stream` inside ``with graph.recorded():`` is recorded instead of run;
    `launch` runs all of it. All kernels must have run before, as loading one would end the
    recording.
    """

    def __init__(self, stream):
        self._stream = stream
        self._graph = None

    @contextmanager
    def recorded(self):
        """Record everything that is launched inside the context."""
        handle = int(self._stream)
        # This mode lets other threads use the GPU freely meanwhile, and memory be freed.
        mode = _driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        with _RECORDING:
            _checked(_driver.cuStreamBeginCapture(handle, mode))
            try:
                yield
            finally:
                recording = _checked(_driver.cuStreamEndCapture(handle))
        try:
            self._graph = _checked(_driver.cuGraphInstantiate(recording, 0))
            _at_end_of(self, _driver.cuGraphExecDestroy, self._graph)
        finally:
            _checked(_driver.cuGraphDestroy(recording))

    def launch(self):
        """Run the recorded launches."""
        _checked(_driver.cuGraphLaunch(self._graph, int(self._stream)))


def synchronize() -> None:
    """Wait until the GPU has finished all work in all streams.

    The lock is needed because this would abort a recording in another thread.
    """
    with _RECORDING:
        cuda.synchronize()


def gpu():
    """Return the current GPU."""
    return cuda.get_current_device()


def multiprocessors() -> int:
    """Return the least number of blocks of threads that run at once."""
    return 2 if SIMULATED else gpu().MULTIPROCESSOR_COUNT


def has_tensor_cores() -> bool:
    """Return whether the GPU multiplies rounded float32 numbers on tensor cores: from Ampere on."""
    return SIMULATED or gpu().compute_capability >= (8, 0)


def clusters() -> bool:
    """Return whether blocks can read and write each other's shared memory."""
    return not SIMULATED and gpu().compute_capability >= (9, 0)


def shared_memory() -> int:
    """Return the bytes of shared memory that one block can have."""
    return 48 << 10 if SIMULATED else gpu().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def free_memory() -> int:
    """Return the bytes of free memory on the GPU."""
    return cuda.current_context().get_memory_info().free


def release_memory() -> None:
    """Free the GPU memory of deleted arrays at once: Numba keeps some of it for a while."""
    if not SIMULATED:
        cuda.current_context().memory_manager.deallocations.clear()


def driver_version() -> int:
    """Return the newest CUDA version that the driver supports: 1000 * major + 10 * minor."""
    return _checked(_driver.cuDriverGetVersion())


def describe() -> str:
    """Describe the current GPU, its memory and its driver."""
    if SIMULATED:
        return "Numba's simulator, no GPU"
    driver = driver_version()
    total = cuda.current_context().get_memory_info().total
    capability = ".".join(map(str, gpu().compute_capability))
    return (
        f"{gpu().name}, compute capability {capability}, {multiprocessors()} multiprocessors, "
        f"{total / 1e9:.0f} GB, driver for CUDA {driver // 1000}.{driver % 1000 // 10}"
    )


def try_out():
    """Run a kernel that needs everything that other kernels need.

    Raises
    ------
    Exception
        Any error of the driver or the compiler.
    """

    def write(out):
        out[cuda.threadIdx.x] = cuda.threadIdx.x

    written, stream = cuda.device_array(2, np.int64), new_stream()
    configured(kernel(2, "cuda.try_out")(write), 1, 2, stream)(written)
    host = written.copy_to_host(stream=stream)
    stream.synchronize()
    if host.tolist() != [0, 1]:
        raise RuntimeError("a kernel did not do what it was told")
