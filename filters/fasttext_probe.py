"""Loads a fastText model file in a process of its own, under limits: a damaged file can take all memory, never end, or
crash. Run as `python fasttext_probe.py MODEL LABELS MEMORY_BYTES SECONDS`, sentences as a JSON list on stdin; prints their scores
as JSON. As a script it runs outside the package, so it imports nothing of this project.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any


def scores_of(model: Any, sentences: Sequence[str], labels: int) -> list[list[list[Any]]]:
    """Of each sentence the [label, probability] pairs of so many labels, the most probable first."""
    scores = []
    for sentence in sentences:
        names, probabilities = model.predict(sentence, k=labels)
        scores.append([[label, float(probability)] for label, probability in zip(names, probabilities, strict=True)])
    return scores


def main(path: str, labels: int, memory_bytes: int, seconds: int) -> None:
    """Set the limits, load, score, print. The limit on CPU time ends it even when its parent has died."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import fasttext

    json.dump(scores_of(fasttext.load_model(path), json.load(sys.stdin), labels), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
