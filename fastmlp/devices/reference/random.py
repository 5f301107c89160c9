"""The random numbers of dropout, in NumPy."""

import numpy as np


def threefry(key, counter):
    """Return the first word of Threefry-2x32, 20 rounds, for two keys and two counters below 2^32.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    words = [np.asarray(k, np.uint32) for k in key]
    words.append(words[0] ^ words[1] ^ np.uint32(0x1BD11BDA))
    x, y = (np.asarray(c, np.uint32) + k for c, k in zip(counter, words[:2], strict=True))
    rotations = [(13, 15, 26, 6), (17, 29, 16, 24)]
    with np.errstate(over="ignore"):
        for group in range(5):
            for r in rotations[group % 2]:
                x = x + y
                y = (y << np.uint32(r)) | (y >> np.uint32(32 - r))
                y = y ^ x
            x = x + words[(group + 1) % 3]
            y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x
