"""What lies on the GPU: a network's numbers, and the rows that it is trained on.

Rows are uploaded once per fit where they fit in the GPU's memory. Else they pass through it in
blocks, in the order in which they are visited: while the GPU works on one block, the host puts the
next one together and sends it.
"""

import numpy as np

from .toolkit import cuda, free_memory, new_stream, release_memory, synchronize

#: The share of the free memory that rows may fill...
SHARE = 0.8
#: ... and how many bytes of them a block has where they do not fit.
BLOCK_BYTES = 256 << 20


def in_place(X):
    """An array that lies on the GPU, as kernels read it.

    Raises
    ------
    ValueError
        If it does not hold floats in rows and columns.
    """
    array = cuda.as_cuda_array(X)
    synchronize()  # not every library says in which queue it writes the array
    if array.ndim != 2 or array.dtype not in (np.float32, np.float64):
        raise ValueError(
            "An X on the GPU must be a 2D array of float32 or float64, got "
            f"{array.ndim}D of {array.dtype}."
        )
    return array


class Memory:
    """One network on the GPU, and the queues of work that use it.

    Parameters
    ----------
    parameters : ndarray of shape (size,)
        Packed.
    moments : list of ndarray of shape (size,) or None
        Of the optimiser, one or two; without it, nothing is trained.
    constants : tuple of float
        Of the loss, for each output.
    """

    def __init__(self, parameters, moments, constants):
        self.dtype, self.stream = parameters.dtype, new_stream()
        #: For what comes back while the next run is at work.
        self.downloads = new_stream()
        self.parameters = self.upload(parameters)
        self.moments = [self.upload(moment) for moment in moments or ()]
        self.constants = self.upload(np.array(constants, self.dtype))
        self.epsilon = np.finfo(self.dtype).eps

    @property
    def first_and_second(self):
        """Both moments, as kernels take them; of an optimiser with one, that twice."""
        return self.moments[0], self.moments[-1]

    def upload(self, array):
        """A copy on the GPU, in C order."""
        on_gpu = self.empty(array.shape, array.dtype)
        on_gpu.copy_to_device(np.ascontiguousarray(array), stream=self.stream)
        return on_gpu

    def upload_rows(self, array):
        """A copy on the GPU in the network's dtype, of an array of which the host makes no copy."""
        on_gpu = self.empty(array.shape, self.dtype)
        rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
        for begin in range(0, len(array), rows):
            block = np.ascontiguousarray(array[begin : begin + rows], self.dtype)
            on_gpu[begin : begin + rows].copy_to_device(block, stream=self.stream)
            self.stream.synchronize()  # the block is freed
        return on_gpu

    def empty(self, shape, dtype=None):
        """Room on the GPU.

        Raises
        ------
        MemoryError
            If there is too little.
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
        """A copy on the host, once all work before is done."""
        host = on_gpu.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return host
