"""All that fastmlp takes from CUDA's Python packages; only this and `simulator` import them.

It is imported when a GPU is asked for, never before. With ``NUMBA_ENABLE_CUDASIM=1`` the same
kernels run in Numba's simulator: thread by thread, in plain Python, without a GPU.
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
#: Threads that go along a row together: a warp. The simulator's threads are Python's.
LANES = 2 if SIMULATED else 32
#: Held while filters of warnings are changed, and while launches are recorded or all are awaited.
_WARNING, _RECORDING = threading.Lock(), threading.Lock()

# NumPy 2.5 warns of what numba-cuda uses, and has no row_stack, for which it registers an overload.
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
        from numba.cuda.np import arrayobj as _arrayobj  # noqa: F401
    if _LACKING:
        del vars(np)["row_stack"]

from ..._cache import DiskCache, keep  # noqa: E402


def device(function):
    """A function that kernels call, inlined into them; the simulator takes it as it is."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


class KernelCache(DiskCache):
    """One kernel's machine code on disk, as `DiskCache` keeps the CPU's.

    Kernels are closures over the functions that they apply, which Numba's own cache takes for new
    ones in every process: here a name stands for them.
    """

    def _key(self, signature, codegen):
        return signature, version("numba-cuda"), driver_version(), gpu().compute_capability

    def _rebuild(self, target_context, content):
        return _dispatcher._Kernel._rebuild(**pickle.loads(content))

    def _reduce(self, kernel):
        return pickle.dumps(kernel._reduce_states(), protocol=pickle.HIGHEST_PROTOCOL)


def kernel(threads, name=None):
    """Compile a function as a kernel of `threads` threads a block; kept on disk under `name`."""
    if SIMULATED:
        return cuda.jit

    def decorate(function):
        # Without link-time optimisation: the code is then what an offline compiler makes of it.
        # A block a multiprocessor is enough: of registers, each thread may have what it needs.
        dispatcher = cuda.jit(function, launch_bounds=(threads, 1), lto=False)
        if name is not None:
            keep(dispatcher, KernelCache, name)
        return dispatcher

    return decorate


def configured(compiled, blocks, threads, stream, shared_bytes=0):
    """What launches a kernel: a callable of its arguments."""
    if SIMULATED:  # whose kernels remember the configuration that they were last given
        return lambda *arguments: compiled[blocks, threads, stream, shared_bytes](*arguments)
    # A small network fills a few multiprocessors, and is told so by Numba. The filters of warnings
    # are the process's: one thread at a time.
    with _WARNING, warnings.catch_warnings():
        # Its own class: numba-cuda has no longer that of Numba.
        warnings.simplefilter("ignore", _dispatcher.errors.NumbaPerformanceWarning)
        return compiled[blocks, threads, stream, shared_bytes]


def allow_all_shared(compiled, arguments):
    """Let a kernel have all shared memory that is left: past 48 KB it has to be said.

    What is said holds for every launch of the kernel, by whichever thread.
    """
    if SIMULATED:
        return
    types = tuple(compiled.typeof_pyval(argument) for argument in arguments)
    function = compiled.compile(types).library.get_cufunc()
    attribute = _driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    most = shared_memory() - function.attrs.shared
    _checked(_driver.cuKernelSetAttribute(attribute, most, function.handle, gpu().id))


def _checked(result):
    """The values of a driver call."""
    status, *values = result
    if status != _driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"The CUDA driver says {status!r}.")
    return values[0] if values else None


def new_stream():
    """A queue of the GPU's work that waits for no other one, as recording it asks for."""
    if SIMULATED:
        return cuda.stream()
    cuda.current_context()  # which it belongs to
    handle = _checked(_driver.cuStreamCreate(_driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    stream = cuda.external_stream(int(handle))
    _at_end_of(stream, _driver.cuStreamDestroy, handle)
    return stream


def _at_end_of(thing, *call):
    """Have a driver call made when nothing refers to the thing; at exit the driver is gone."""
    weakref.finalize(thing, *call).atexit = False


class Graph:
    """Launches that the GPU repeats by itself, at a fraction of what the host takes for each.

    Whatever is launched into `stream` inside of ``with graph.recorded():`` does not run but is
    recorded; `launch` runs all of it. All kernels must have run before, as loading one would end
    the recording.
    """

    def __init__(self, stream):
        self._stream = stream
        self._graph = None

    @contextmanager
    def recorded(self):
        """Record what is launched meanwhile."""
        handle = int(self._stream)
        # Other threads may use the GPU meanwhile as they like, and memory may be freed.
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
        """Run what was recorded."""
        _checked(_driver.cuGraphLaunch(self._graph, int(self._stream)))


def synchronize() -> None:
    """Wait until the GPU has done all that anybody asked of it.

    A recording in another thread would break off.
    """
    with _RECORDING:
        cuda.synchronize()


def gpu():
    """The current GPU."""
    return cuda.get_current_device()


def multiprocessors() -> int:
    """How many blocks of threads run at once, at least."""
    return 2 if SIMULATED else gpu().MULTIPROCESSOR_COUNT


def shared_memory() -> int:
    """Bytes of shared memory that one block can have."""
    return 48 << 10 if SIMULATED else gpu().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def free_memory() -> int:
    """Bytes of memory that the GPU has left."""
    return cuda.current_context().get_memory_info().free


def release_memory() -> None:
    """Give the GPU what arrays had that are no more: Numba keeps some of it for a while."""
    if not SIMULATED:
        cuda.current_context().memory_manager.deallocations.clear()


def driver_version() -> int:
    """The newest CUDA that the driver knows, as 1000 times the major and 10 times the minor."""
    return _checked(_driver.cuDriverGetVersion())


def describe() -> str:
    """The current GPU, its memory and its driver."""
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
    """Run a kernel, which takes everything that other kernels take.

    Raises
    ------
    Exception
        Whatever goes wrong, as the driver or the compiler says it.
    """

    def write(out):
        out[cuda.threadIdx.x] = cuda.threadIdx.x

    written, stream = cuda.device_array(2, np.int64), new_stream()
    configured(kernel(2, "cuda.try_out")(write), 1, 2, stream)(written)
    host = written.copy_to_host(stream=stream)
    stream.synchronize()
    if host.tolist() != [0, 1]:
        raise RuntimeError("a kernel did not do what it was told")
