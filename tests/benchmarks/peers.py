"""The clients that the engine is compared with, each alone in its process.

python -m tests.benchmarks.peers barrier   '{"base_url": …, "asks": …, "in_flight": …, "folder": …}'
python -m tests.benchmarks.peers datatrove '{…}'                        prints {"seconds", "cpu_seconds", "right"} as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from tests.benchmarks.engine_client import expected_answer, question, seed_text

_RECORDS_PER_CHUNK = 500


def body(number: int) -> dict[str, Any]:
    """The engine's request for seed `number`, its sampling seed apart."""
    sampling = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512}
    return {"model": "scripted", "messages": question(seed_text(number)), **sampling, "seed": number}


async def run_barrier(base_url: str, asks: int, in_flight: int) -> int:
    """Plain aiohttp and uvloop, `in_flight` asks at a time, the next ones when all of them are answered. How many were right."""
    right = 0
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def one(number: int) -> bool:
            async with session.post(f"{base_url}/chat/completions", data=orjson.dumps(body(number))) as response:
                value = orjson.loads(await response.read())
            return bool(value["choices"][0]["message"]["content"] == expected_answer(number))

        for first in range(0, asks, in_flight):
            right += sum(await asyncio.gather(*map(one, range(first, min(first + in_flight, asks)))))
    return right


def run_datatrove(base_url: str, asks: int, in_flight: int, folder: Path) -> None:
    """datatrove's InferenceRunner with its checkpoints on, writing plain JSON lines."""
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter
    from loguru import logger

    logger.remove()

    async def rollout(document: Document, generate: Any) -> str:
        fields = body(int(document.id))
        del fields["model"]  # the runner sets it
        return str((await generate(fields)).text)

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="scripted",
        endpoint_url=base_url.removesuffix("/v1"),
        max_concurrent_generations=in_flight,
    )
    writer = JsonlWriter(str(folder / "out"), output_filename="${rank}_${chunk_index}.jsonl", compression=None)
    checkpoints = str(folder / "checkpoints")
    runner = InferenceRunner(
        rollout, config, writer, checkpoints_local_dir=checkpoints, records_per_chunk=_RECORDS_PER_CHUNK
    )
    runner.run(Document(text=seed_text(number), id=str(number)) for number in range(asks))


def datatrove_right(folder: Path) -> int:
    """How many documents hold the answer to their own ask."""
    lines = [json.loads(line) for path in (folder / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    answers = {int(line["id"]): line["metadata"]["rollout_results"] for line in lines}
    return sum(answer == [expected_answer(number)] for number, answer in answers.items())


def main(name: str, base_url: str, asks: int, in_flight: int, folder: str) -> dict[str, float]:
    """Measure one client. Imports are not counted, nor is looking at what it wrote."""
    if name == "datatrove":
        import datatrove.pipeline.inference.run_inference
        import datatrove.pipeline.writers  # noqa: F401
    right, start, cpu_start = 0, time.perf_counter(), time.process_time()
    if name == "barrier":
        right = uvloop.run(run_barrier(base_url, asks, in_flight))
    else:
        run_datatrove(base_url, asks, in_flight, Path(folder))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "right": right or datatrove_right(Path(folder))}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(main(sys.argv[1], **orjson.loads(sys.argv[2]))))
