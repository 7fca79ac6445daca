"""Long runs are collected only where they are asked for by name: pytest tests/soak (make test-soak)."""

from __future__ import annotations

import sys

collect_ignore_glob = [] if any("soak" in argument for argument in sys.argv) else ["test_*.py"]
