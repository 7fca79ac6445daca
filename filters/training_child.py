"""Trains a fastText model in a process of its own, under limits: what training takes, and what its library leaves behind,
ends with it. Run as `python training_child.py` with a JSON job on stdin. As a script it runs outside the package, so it
imports nothing of this project.
"""

import json
import sys
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Set the limits, train, save. The limit on CPU time ends it even when its parent has died."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (job["seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import fasttext

    model = fasttext.train_supervised(input=job["input"], thread=1, verbose=0, **job["settings"])
    if job["quantize"]:
        model.quantize(thread=1, verbose=0)
    model.save_model(job["output"])


if __name__ == "__main__":
    main(json.load(sys.stdin))
