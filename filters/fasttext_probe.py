"""Loads a fastText model file in a process of its own, under limits: a damaged file can take all memory, never end, or
crash. Run as `python fasttext_probe.py MODEL MEMORY_BYTES SECONDS`, sentences as a JSON list on stdin; prints the JSON
list of each sentence's [label, probability] pairs. It imports nothing of this project.
"""

import json
import resource
import sys


def main(path: str, memory_bytes: int, seconds: int) -> None:
    """Set the limits, load, score, print. The limit on CPU time ends it even when its parent has died."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import fasttext

    model = fasttext.load_model(path)
    scores = []
    for sentence in json.load(sys.stdin):
        labels, probabilities = model.predict(sentence, k=-1)
        scores.append([[label, float(probability)] for label, probability in zip(labels, probabilities, strict=True)])
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
