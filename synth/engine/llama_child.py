"""The program that serves one GGUF model through llama.cpp: OpenAI's API on loopback, for as long as it runs.

    python -m synth.engine.llama_child --weights FILE --ready-file F [--port 0] [--slots 16] …

It is started under the supervisor, so it never outlives the run. llama.cpp is imported here and nowhere else.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from pathlib import Path

import orjson

_ERRORS_ONLY = 1  # llama.cpp's verbosity


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until killed; the ready file appears once requests are answered. Ends with 1 when llama.cpp cannot start."""
    given = _arguments(argv)
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(given))
    except RuntimeError as error:  # llama.cpp has already written why
        raise SystemExit(f"llama.cpp did not start: {error}") from None
    ready = {"base_url": f"{server.listening_address}/v1", "engine_version": f"xllamacpp {xllamacpp.__version__}"}
    part = given.ready_file.with_name(f"{given.ready_file.name}.part")
    part.write_bytes(orjson.dumps(ready))
    part.replace(given.ready_file)
    threading.Event().wait()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m synth.engine.llama_child", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="a GGUF file")
    add("--ready-file", type=Path, required=True, help="gets base URL and engine version as JSON")
    add("--port", type=int, default=0, help="on 127.0.0.1; 0 = any free one")
    add("--slots", type=int, default=16, help="requests decoded together")
    add("--context-tokens", type=int, default=4096, help="prompt and answer together, per slot")
    add("--threads", type=int, required=True, help="compute threads")
    add("--api-key-file", type=Path, help="requests must carry the key in this file")
    return parser.parse_args(argv)


def _parameters(given: argparse.Namespace) -> object:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(given.weights)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = given.port
    parameters.api_keys = [given.api_key_file.read_text().strip()] if given.api_key_file else []
    parameters.n_parallel = given.slots
    parameters.n_ctx = given.slots * given.context_tokens
    parameters.cpuparams.n_threads = given.threads
    parameters.cpuparams_batch.n_threads = given.threads
    # Prefixes are shared within a slot. The second cache, of whole prompts, would grow to 8 GB of copies.
    parameters.cache_ram_mib = 0
    # What shapes answers is in the request. llama.cpp's own extra cuts would be there without being declared.
    parameters.sampling.top_k = 0
    parameters.sampling.min_p = 0.0
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_metrics = True  # whether tokens still come is read there
    parameters.verbosity = _ERRORS_ONLY
    return parameters


if __name__ == "__main__":
    main()
