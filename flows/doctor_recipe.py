"""What `synth doctor RECIPE` says of a recipe: its sources, models, endpoints, keys, ports and prices."""

from __future__ import annotations

from collections.abc import Iterator

from flows.doctor import Check, Line, Patient, broken, of_error, ok, warning
from flows.recipe import Recipe
from synth import weights
from synth.engine import launch, outside, vllm
from synth.engine.roles import ModelConfig, ModelRun
from synth.errors import SynthError
from synth.sources import check_files, files_waiting, source_files

_PRICES = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens", "usd_per_gpu_hour")


def sources(patient: Patient) -> Iterator[Line]:
    """Whether each source names files that are there."""
    if patient.recipe is None:
        return
    for source in patient.recipe.sources:
        try:
            files = source_files(source, patient.base, fetch=False)
            check_files(source, files)
            waiting = files_waiting(source)
        except SynthError as error:
            yield of_error(f"source {source.id}", error)
            continue
        size = sum(file.stat().st_size for file in files)
        empty = [file.name for file in files if not file.stat().st_size]
        said = f"{len(files):,} files, {size / 1e6:,.1f} MB" + (f"; {len(waiting):,} to fetch" if waiting else "")
        if len(empty) == len(files) and not waiting:
            yield broken(f"source {source.id}", f"all {said} are empty", f"look at sources.{source.id}.paths")
        else:
            yield ok(f"source {source.id}", said)


def policy(patient: Patient) -> Iterator[Line]:
    """Whether families, rules, gates and files fit together: what `synth plan` would refuse."""
    if patient.recipe is None:
        return
    from flows.works import Works

    families = Works(patient.recipe).families
    yield ok("recipe", f"{patient.recipe.name}: {', '.join(families)}")


def models(patient: Patient) -> Iterator[Line]:
    """Of each model its files, and where it runs: what can be known before it starts."""
    if patient.recipe is None:
        return
    for name, config in patient.recipe.models.items():
        run = patient.recipe.run.models.get(name, ModelRun())
        try:
            yield from _model(name, config, run, patient.network)
        except SynthError as error:
            yield of_error(f"model {name}", error)
        yield _price(name, run)
    yield from _budget(patient.recipe)


def _budget(recipe: Recipe) -> Iterator[Line]:
    """A limit in dollars means nothing where nothing has a price."""
    priced = [
        name for name in recipe.models if any(getattr(recipe.run.models.get(name), field, 0) for field in _PRICES)
    ]
    if recipe.run.budget.max_usd and not priced:
        what = f"run.budget.max_usd = {recipe.run.budget.max_usd:g} can never be reached: no model has a price"
        yield warning("budget", what, f"give {' or '.join(_PRICES)} in [run.models.NAME]")


def _model(name: str, config: ModelConfig, run: ModelRun, network: bool) -> Iterator[Line]:
    title = f"model {name}"
    outside.given_key(name, run)
    if run.urls or config.backend == "openai":
        for replica in range(run.copies):
            yield _endpoint(name, run, replica, network)
        return
    for replica in range(run.replicas):
        launch.port(name, run, replica)
    if config.backend == "vllm":
        vllm.check(name, config, run)
        yield ok(title, f"vllm {vllm.installed_version()} would serve {config.weights}")
    elif config.backend == "llama-cpp":
        yield _weights(title, str(config.weights))
    else:
        yield ok(title, f"the scripted server would answer by the script {config.script!r}")


def _endpoint(name: str, run: ModelRun, replica: int, network: bool) -> Line:
    title = f"model {name}" if run.copies == 1 else f"model {name}/{replica}"
    url = outside.base_url(name, run, replica)
    if not network:
        return ok(title, f"{url} was not asked (--network asks)")
    try:
        outside.check_answers(name, run, replica, url, outside.given_key(name, run))
    except SynthError as error:
        return of_error(title, error)
    return ok(title, f"{url} answers")


def _weights(title: str, given: str) -> Line:
    """The file is there and whole, or will be fetched."""
    if given in weights.KNOWN:
        cached = next(one for one in weights.status() if one["name"] == given)["cached"]
        if not cached:
            return warning(title, f"{given} is not here yet", f"synth weights {given} (else the run fetches it)")
        return ok(title, f"{given}, whole")
    return ok(title, f"{weights.locate(given)}")


def _price(name: str, run: ModelRun) -> Line:
    given = [field for field in _PRICES if getattr(run, field)]
    if given:
        return ok(f"price of {name}", ", ".join(f"{field} = {getattr(run, field):g}" for field in given))
    return ok(f"price of {name}", f"none in [run.models.{name}]: costs are counted in tokens alone")


CHECKS: tuple[Check, ...] = (policy, sources, models)
