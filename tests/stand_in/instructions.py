"""What NVIDIA's GPUs compute by themselves: the names of instructions, and our functions for them.

A kernel's LLVM IR has them as intrinsics, `llvm.nvvm.…`, and as inline PTX. To add one, write a
function in threads.c that takes its registers from `in` and leaves its results in `out`; then put
its name into `INTRINSICS` or, by a pattern of its text, into `PTX`.
"""

import re

#: Special registers, by their names in PTX: they stay the same throughout the life of a thread.
REGISTERS = {
    f"{register}.{axis}": f"standin_{register}_{axis}"
    for register in ("tid", "ctaid", "ntid", "nctaid")
    for axis in "xyz"
} | {
    "laneid": "standin_lane",
    "dynamic_smem_size": "standin_dynamic_bytes",
    "cluster_ctarank": "standin_cluster_rank",
    "cluster_nctarank": "standin_cluster_blocks",
}

#: Intrinsics without what comes before, `llvm.nvvm.`.
INTRINSICS = {
    "barrier0": "standin_barrier",
    "barrier.cta.sync.aligned.all": "standin_barrier",
    "bar.warp.sync": "standin_warp_barrier",
    # One host thread runs all of a GPU's: what one of them writes, the others see.
    "membar.cta": "standin_nothing",
    "membar.gl": "standin_nothing",
    "membar.sys": "standin_nothing",
}

#: Patterns of inline PTX without its last semicolon. A `number` in it comes after the registers.
PTX = {
    # Addresses in shared memory are the same in 32 and in 64 bits: see `standin_window`.
    r"cvta\.(?:to\.)?(?:shared|global)\.u64 \$0, \$1": "standin_same_address",
    r"\.reg \.u64 (?P<t>\S+); cvta\.to\.shared\.u64 (?P=t), \$1; cvt\.u32\.u64 \$0, (?P=t)": (
        "standin_same_address"
    ),
    r"ld\.(?:volatile\.)?shared(?:::cta)?{vector}\.{type} {results}, \[{address}\]": (
        "standin_load_shared"
    ),
    r"st\.(?:volatile\.)?shared(?:::cta)?{vector}\.{type} \[{address}\], {operands}": (
        "standin_store_shared"
    ),
    r"ld\.global(?:\.nc)?{vector}\.{type} {results}, \[{address}\]": "standin_load_global",
    r"st\.global{vector}\.{type} \[{address}\], {operands}": "standin_store_global",
    r"mapa(?:\.shared::cluster)?\.u32 \$0, \$1, \$2": "standin_map_to_rank",
    r"ld\.shared::cluster{vector}\.{type} {results}, \[{address}\]": "standin_load_cluster",
    r"st\.shared::cluster{vector}\.{type} \[{address}\], {operands}": "standin_store_cluster",
    r"barrier\.cluster\.arrive(?:\.release|\.relaxed)?(?:\.aligned)?": "standin_nothing",
    r"barrier\.cluster\.wait(?:\.acquire)?(?:\.aligned)?": "standin_cluster_wait",
    r"barrier\.cluster\.arrive\S*; barrier\.cluster\.wait\S*": "standin_cluster_wait",
    r"bar\.sync 0|barrier\.sync(?:\.aligned)? 0": "standin_barrier",
    r"bar\.warp\.sync 0xffffffff|bar\.warp\.sync -1": "standin_whole_warp",
    r"fence\.\S+|membar\.\S+": "standin_nothing",
    r"shfl\.sync\.bfly\.b32 \$0, \$1, \$2, 31, (?:-1|0xffffffff)": "standin_shuffle_xor",
    r"cvt\.rna\.tf32\.f32 \$0, \$1": "standin_round_to_tf32",
    r"cvt\.rn\.bf16x2\.f32 \$0, \$2, \$1": "standin_pack_bf16",
    r"mma\.sync\.aligned\.m16n8k8\.row\.col\.f32\.tf32\.tf32\.f32 {tiles}": "standin_mma_tf32",
    r"mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.bf16\.bf16\.f32 {tiles}": "standin_mma_bf16",
    r"cp\.async\.c[ag]\.shared(?:::cta)?\.global \[\$0\], \[\$1\], (?P<number>4|8|16)": (
        "standin_copy_async"
    ),
    r"\.reg \.pred (?P<none>\w+); setp\.eq\.u32 (?P=none), \$2, 0; cp\.async\.c[ag]"
    r"\.shared(?:::cta)?\.global \[\$0\], \[\$1\], (?P<number>4|8|16), (?P=none)": (
        "standin_copy_async_or_zeros"
    ),
    r"cp\.async\.commit_group": "standin_commit_copies",
    r"cp\.async\.wait_group (?P<number>\d+)": "standin_wait_copies",
    r"cp\.async\.wait_all": "standin_wait_all_copies",
}
_PARTS = {
    "{tiles}": r"\{\$0, ?\$1, ?\$2, ?\$3\}, \{\$4, ?\$5, ?\$6, ?\$7\}, "
    r"\{\$8, ?\$9\}, \{\$10, ?\$11, ?\$12, ?\$13\}",
    "{vector}": r"(?:\.v(?P<vector>[24]))?",
    "{type}": r"[bfu](?P<bits>32|64)",
    "{address}": r"\$\d+(?: ?\+ ?(?P<offset>\d+))?",
    "{results}": r"\{?\$0(?:, ?\$\d)*\}?",
    "{operands}": r"\{?\$1(?:, ?\$\d)*\}?",
}


def _compiled(pattern):
    for name, part in _PARTS.items():
        pattern = pattern.replace(name, part)
    return re.compile(pattern)


_PATTERNS = [(_compiled(pattern), function) for pattern, function in PTX.items()]
_MOVE = re.compile(r"mov\.[bu]32 \$0, %(?P<register>[\w.]+)")


class UnknownInstructionError(NotImplementedError):
    """A kernel has an instruction that the stand-in does not know."""

    def __init__(self, name):
        super().__init__(
            f"The stand-in for a GPU does not know {name}: see tests/stand_in/instructions.py."
        )


def register_of(ptx: str) -> str | None:
    """Return the function for a special register that inline PTX reads; None if it does not."""
    found = _MOVE.fullmatch(_one_line(ptx))
    return REGISTERS.get(found["register"]) if found else None


def function_of(ptx: str) -> tuple[str, tuple[int, ...]]:
    """Return the function for inline PTX, and the numbers that it takes after the registers.

    Raises
    ------
    UnknownInstructionError
        If no pattern is that of the whole text.
    """
    text = _one_line(ptx)
    for pattern, function in _PATTERNS:
        if found := pattern.fullmatch(text):
            parts = found.groupdict()
            if "bits" in parts:
                count, size = int(parts["vector"] or 1), int(parts["bits"]) // 8
                return function, (count, size, int(parts["offset"] or 0))
            return function, (int(parts["number"]),) if "number" in parts else ()
    raise UnknownInstructionError(repr(text))


def _one_line(ptx):
    text = " ".join(ptx.split())
    if text.startswith("{"):  # a block with registers of its own
        text = text.removeprefix("{").removesuffix("}")
    return text.strip("; ")
