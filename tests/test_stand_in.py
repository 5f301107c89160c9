"""The CUDA device on a stand-in for a GPU: in every order the same numbers, and no rule is broken.

The stand-in is the package `stand_in`. What it would not notice, no test of it proves: so bugs are
planted, and must be seen.
"""

import re

import pytest
import stand_in
from laws import REGIMES

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.slow,
    pytest.mark.skipif(bool(stand_in.missing()), reason=stand_in.missing()),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stand_in.build(tmp_path_factory.mktemp("stand_in"))


# ---- the device ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trials(folder):
    """What `trials.everything` prints, by program: compiled once for all of it."""
    lines = stand_in.run(folder, "trials.everything")
    return {name: [line for line in lines if line["program"] == name] for name in PROGRAMS}


PROGRAMS = "networks", "barriers", "waits"


def test_every_order_gives_the_same_bits(trials):
    assert trials["networks"]
    assert [line for line in trials["networks"] if line["different"]] == []


def test_numbers_are_the_reference_devices(trials):
    limits = {"float64": 1e-12, "float32": 1e-5}
    far = [line for line in trials["networks"] if not line["distance"] <= limits[line["dtype"]]]
    assert far == []


def test_graphs_repeat_what_was_launched(trials):
    graphs = {
        line["case"]: line["graphs"]
        for line in trials["networks"]
        if line.get("regime") == "many blocks"
    }
    assert graphs.pop("rows in blocks") == 0  # a batch of several blocks is no graph
    assert all(graphs.values())


def test_missing_barriers_are_seen(trials):
    """Of every regime's kernels; all but a few, but each barrier of a cluster.

    A barrier may be there for another one's sake, or for networks that are not tried here.
    """
    unseen = [line for line in trials["barriers"] if not line["seen"]]
    assert len(unseen) <= len(trials["barriers"]) / 5, unseen
    of_clusters = [line for line in trials["barriers"] if "of the cluster" in line["function"]]
    assert len(of_clusters) == 3
    assert not any(line in unseen for line in of_clusters)
    assert set(REGIMES) == {line["regime"] for line in trials["barriers"]}


def test_missing_waits_are_seen(trials):
    assert len(trials["waits"]) == 2
    assert [line for line in trials["waits"] if not line["seen"]] == []


# ---- the stand-in itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels(folder):
    return stand_in.run(folder, "kernels.everything")


@pytest.mark.parametrize(
    "kernel",
    ["fours", "copies", "copies, early", "sums", "products", "deep products", "neighbours"],
)
def test_instructions(kernels, kernel):
    """Those that numba-cuda has no functions for, and kernels write as PTX."""
    (line,) = [line for line in kernels if line.get("kernel") == kernel]
    assert line["wrong"] == []


REFUSED = {
    "beyond_the_end": "no access to address .* 4000 bytes from the start of 40 allocated ones",
    "beyond_shared_memory": "a write 0 bytes past a static array of 32 bytes",
    "freed_memory": "no access to address .* 0 bytes from the start of 40 that were freed",
    "a_barrier_of_some": "2 threads wait at a barrier that 2 never come to",
    "too_many_threads": "CUDAError: error 1 ",
    "too_much_shared_memory": "CUDAError: error 1 ",
    "a_host_that_waits_in_a_capture": "CAPTURE_INVALIDATED",
    "pageable_memory_in_a_capture": "a graph would read pageable memory",
    "an_unknown_instruction": r"UnknownInstructionError: .* does not know 'frobnicate\.sync",
}


@pytest.mark.parametrize("misuse", REFUSED)
def test_misuse_is_refused(kernels, misuse):
    (said,) = [line["said"] for line in kernels if line.get("misuse") == misuse]
    assert re.search(REFUSED[misuse], said), said
