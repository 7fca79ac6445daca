"""Whether a recipe's models fit on their GPUs, for `synth plan`: calculated, so that it can be asked without a GPU."""

from __future__ import annotations

from rich.table import Table

from flows.display import console, say
from flows.families import asked_roles, load_family
from flows.places import places
from flows.recipe import Recipe
from generators.writing import CONTEXT_TOKENS, WritingOptions
from synth.config import parse
from synth.engine.memory import Fit, check_memory, check_ranks, unknown
from synth.engine.roles import ModelRun, RoleConfig

INSTRUCTION_TOKENS = 400  # of a family's prompt beside the seed, at most about


def memory_of(recipe: Recipe) -> list[Fit]:
    """One Fit per model that vLLM serves on GPUs of ours and that can be calculated. RecipeError: one cannot fit."""
    with recipe.naming_files():
        fits = []
        for name, config in recipe.models.items():
            run = recipe.run.models.get(name, ModelRun())
            if config.backend == "vllm" and not run.urls:
                check_ranks(name, run)
            fits.append(check_memory(name, config, run, asked_tokens(recipe, name)))
    return [fit for fit in fits if fit]


def asked_tokens(recipe: Recipe, model: str) -> int | None:
    """Of the longest request that the recipe's families put to this model: seed segment, instructions, thoughts and answer.
    None: it is not asked, or by a family that does not say."""
    longest = 0
    for one in recipe.families:
        options = parse(
            load_family(one.name, one.file).Options, one.options, f"families.{one.name}.options", elsewhere=places
        )
        for name in asked_roles(one.name, options, recipe.roles):
            if model not in recipe.roles[name].models:
                continue
            if not isinstance(options, WritingOptions):
                return None
            longest = max(longest, _request(options, recipe.roles[name], name))
    return longest or None


def _request(options: WritingOptions, role: RoleConfig, name: str) -> int:
    """Tokens of one request. A role other than the writer's reads what was written, and answers as its sampling says."""
    prompt = options.segment_tokens + CONTEXT_TOKENS + INSTRUCTION_TOKENS
    thoughts = role.sampling.thinking_tokens
    if name != "writer":
        return prompt + options.max_tokens + role.sampling.max_tokens + thoughts
    return prompt + options.max_tokens + (thoughts if options.thinking_tokens is None else options.thinking_tokens)


def print_memory(recipe: Recipe, fits: list[Fit]) -> None:
    """The table, and what to know about it."""
    if fits:
        _print_table(fits)
    for fit in fits:
        for remark in fit.remarks:
            say(remark)
    for name, config in recipe.models.items():
        if why := unknown(name, config, recipe.run.models.get(name, ModelRun())):
            say(why)


def _print_table(fits: list[Fit]) -> None:
    """Each model on one GPU."""
    columns = (
        "model",
        "GPU",
        "usable",
        "weights",
        "start-up",
        "KV cache",
        "in flight",
        "fit: longest asked",
        "fit: full length",
    )
    table = Table(*columns, box=None, pad_edge=False)
    for fit in fits:
        table.add_row(
            fit.model,
            fit.gpu,
            f"{fit.usable_gib:.1f} GiB",
            f"{fit.weights_gib:.1f}",
            f"~{fit.overhead_gib:.1f}",
            f"{max(0.0, fit.cache_gib):.1f} = {fit.cache_tokens:,} tokens",
            f"{fit.in_flight:,}",
            f"{fit.asked_requests:,.0f} x {fit.asked_tokens:,}",
            f"{fit.requests:,.0f} x {fit.context_tokens:,}",
        )
    console().print("GPU memory, per GPU, calculated and not measured (GiB):")
    console().print(table)
