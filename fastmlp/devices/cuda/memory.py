"""The data on the GPU: a network's numbers, and the rows that it is trained on.

Rows are uploaded once per fit if they fit in the GPU's memory. Otherwise they are streamed in
blocks, in the order in which they are visited: while the GPU works on one block, the host collects
and sends the next one.
"""

import numpy as np

from .toolkit import SIMULATED, cuda, free_memory, new_stream, release_memory, synchronize

#: The share of the free memory that rows may fill...
SHARE = 0.8
#: ... and the bytes of a block of rows if they do not fit.
BLOCK_BYTES = 256 << 20


def in_place(X):
    """Return an array that is already on the GPU, in the form that kernels read.

    Raises
    ------
    ValueError
        If it is not a 2D array of floats.
    """
    array = cuda.as_cuda_array(X)
    synchronize()  # not every library reports the stream in which it writes the array
    if array.ndim != 2 or array.dtype not in (np.float32, np.float64):
        raise ValueError(
            "An X on the GPU must be a 2D array of float32 or float64, got "
            f"{array.ndim}D of {array.dtype}."
        )
    return array


def address_of(array):
    """Return the position of an array's first number, as if all of the memory were one array."""
    first = array.ctypes.data if SIMULATED else array.device_ctypes_pointer.value
    return first // array.dtype.itemsize


class Memory:
    """One network on the GPU, and the streams that use it.

    Parameters
    ----------
    parameters : ndarray of shape (size,)
        Packed parameters.
    moments : list of ndarray of shape (size,) or None
        The optimiser's one or two moments; None if the network is not trained.
    constants : tuple of float
        The loss's constant for each output.
    """

    def __init__(self, parameters, moments, constants):
        self.dtype, self.stream = parameters.dtype, new_stream()
        #: The stream for downloads while the next run is computed.
        self.downloads = new_stream()
        self.parameters = self.upload(parameters)
        self.moments = [self.upload(moment) for moment in moments or ()]
        self.constants = self.upload(np.array(constants, self.dtype))
        self.epsilon = np.finfo(self.dtype).eps

    @property
    def first_and_second(self):
        """Both moments, as kernels take them; an optimiser with one moment passes it twice."""
        return self.moments[0], self.moments[-1]

    def upload(self, array):
        """Copy an array to the GPU, in C order."""
        on_gpu = self.empty(array.shape, array.dtype)
        on_gpu.copy_to_device(np.ascontiguousarray(array), stream=self.stream)
        return on_gpu

    def upload_rows(self, array):
        """Copy an array to the GPU in the network's dtype, without a full copy on the host."""
        on_gpu = self.empty(array.shape, self.dtype)
        self.send_rows(array, on_gpu)
        return on_gpu

    def send_rows(self, array, on_gpu):
        """The same, to a place on the GPU of the same shape."""
        rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
        for begin in range(0, len(array), rows):
            block = np.ascontiguousarray(array[begin : begin + rows], self.dtype)
            on_gpu[begin : begin + rows].copy_to_device(block, stream=self.stream)
            self.stream.synchronize()  # the block is freed

    def empty(self, shape, dtype=None):
        """Allocate memory on the GPU.

        Raises
        ------
        MemoryError
            If there is not enough.
        """
        dtype = np.dtype(dtype or self.dtype)
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if wanted > free_memory():
            release_memory()
        if wanted > (free := free_memory()):
            raise MemoryError(
                f"The GPU has {free / 1e9:.2f} GB of memory left, and {wanted / 1e9:.2f} GB more "
                "are needed. Make batch_size or the layers smaller, end what else uses the GPU, or "
                "use device='cpu'."
            )
        return cuda.device_array(shape, dtype, stream=self.stream)

    def download(self, on_gpu):
        """Copy an array to the host, after all earlier work is done."""
        host = on_gpu.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return host
