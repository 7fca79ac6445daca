"""Compiled code is kept beside a kernel's file and made anew when that file changes: of the files of its parts numba knows
nothing. So each such kernel names the digest of its parts. Who changes a part changes the kernel's file, and with it the cache
of everybody who has an older version.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

ROOT = Path(__file__).parents[1]
PARTS = {
    "dedup/kernels.py": ("synth/text/kernels_text.py",),
    "dedup/facts_kernels.py": ("synth/text/kernels_text.py",),
    "dedup/lookup_kernels.py": ("synth/text/kernels_text.py",),
    "dedup/pairs_kernels.py": ("synth/text/kernels_text.py",),
    "filters/fasttext_kernels.py": ("filters/fasttext_tables.py", "filters/fasttext_file.py"),
}


@pytest.mark.parametrize("kernel", PARTS)
def test_a_kernel_changes_with_its_parts(kernel: str) -> None:
    digest = f"{crc32(b''.join((ROOT / part).read_bytes() for part in PARTS[kernel])):08x}"
    last = (ROOT / kernel).read_text(encoding="utf-8").splitlines()[-1]
    assert last.endswith(f": {digest}"), f"the parts of {kernel} changed: write {digest} into its last line"
