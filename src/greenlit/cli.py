"""The `greenlit` command: data to stdout, all else to stderr, nothing heavy imported before it is needed."""

import difflib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenlit.cli_programs import app as programs_app
from greenlit.data.cli import app as data_app
from greenlit.errors import ConfigError
from greenlit.launch.cli import LAUNCHER_HELP, choose_launcher, launch
from greenlit.registry.cli import app as models_app
from greenlit.stage.entry import DEBUG, exit_cleanly
from greenlit.stage.launching import ANEW

if TYPE_CHECKING:
    from greenlit.config import Params

app = typer.Typer(
    name="greenlit",
    help="Reinforcement learning for code models, graded by execution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(programs_app)  # without a name: its commands are ours
app.add_typer(data_app)
app.add_typer(models_app)
app.command()(launch)

STAGE_WORDS = {
    "prepare": ["prepare"],
    "base": ["base"],
    "baseline": ["baseline"],
    "train_gen": ["generate", "annotate"],
    "rl_build": ["build"],
    "train_all": ["train", "merge"],
    "test_after": ["evaluate", "report"],
    "report": ["report"],
    "register": ["register"],
}
"""Words for parts of the pipeline → stages of dvc.yaml (`train` means `train@<m>` for all methods)."""

_ABOUT = {
    "methods": "docs/training.md",
    "reward_models": "docs/training.md",
    "scrape.sources": "docs/scraping.md",
}
"""Where the sections for whose every entry some stages are made are described."""
FAILED = "a stage failed; its own message stands above. What is done stays done."


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("greenlit"))
        raise typer.Exit


@app.command()
def run(
    only: Annotated[
        str | None, typer.Option(help=f"Comma-separated parts: {', '.join(STAGE_WORDS)}; or stage names of dvc.yaml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run the stages even if nothing changed.")] = False,
    launcher: Annotated[str | None, typer.Option(help=LAUNCHER_HELP)] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traces of faults.")] = False,
) -> None:
    """Bring the experiment of params.yaml up to date, then print its result table.

    Without `methods` that is the base model, measured.
    """
    from greenlit.config import load_params

    choose_launcher(launcher)
    params = load_params()
    sources = params.scrape.sources.names()
    targets = [] if only is None else stage_targets(only, list(params.methods), list(params.reward_models), sources)
    if only is None and not params.methods:
        targets = ["baseline"]
    _run_stages(params, targets, force, debug)
    if only is None or "test_after" in only or "report" in only:
        print_result()


def _run_stages(
    params: "Params", targets: list[str], force: bool = False, debug: bool = False, command: str = "greenlit run"
) -> None:
    """Bring stages and all they need up to date, as one execution with a record; exits where one fails."""
    from greenlit.repro import repro
    from greenlit.runs.records import record_run
    from greenlit.stage.entry import WORKSPACE, only_one
    from greenlit.stage.workspace import sweep
    from greenlit.tracking.executions import execution

    if debug:
        os.environ[DEBUG] = "1"
    with (
        _ended_early(FAILED, f"`{command}`"),
        only_one(WORKSPACE, who=command.strip("`")),
        record_run(params, whole=not targets),
        execution(params),
    ):
        if force:
            sweep()
            os.environ[ANEW] = "1"
        repro(targets, force)
        sweep()  # DVC has it all now


@contextmanager
def _ended_early(failed: str, again: str) -> Iterator[None]:
    """A failed stage or a signal inside: one line on stderr, and the exit code of that stage or signal."""
    from greenlit.repro import StageFailedError
    from greenlit.stage.stopping import Stopped

    try:
        yield
    except StageFailedError as fault:
        print(failed, file=sys.stderr)
        sys.exit(fault.code)
    except Stopped as stopped:
        print(f"stopped by {stopped.name}; {again} goes on from there", file=sys.stderr)
        sys.exit(stopped.exit_code)


def stage_targets(
    words: str, methods: list[str], reward_models: list[str] | None = None, sources: list[str] | None = None
) -> list[str]:
    """DVC targets of comma-separated words.

    Args:
        methods, reward_models, sources: names in params.yaml, for each of which some stages are made.

    Raises:
        ConfigError: a word that is neither a part of the pipeline nor a stage, or a stage that is made for nothing.
    """
    stages = _stage_names()
    names = {"methods": methods, "reward_models": reward_models or [], "scrape.sources": sources or []}
    targets: list[str] = []
    for word in (part.strip() for part in words.split(",")):
        if word not in STAGE_WORDS and word not in stages and "@" not in word:
            known = [*STAGE_WORDS, *stages]
            close = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"
            raise ConfigError(f"--only: no part of the pipeline is called {word!r}", hint=hint)
        for stage in STAGE_WORDS.get(word, [word]):
            section = stages.get(stage)
            if section and not names[section]:
                raise ConfigError(f"--only {word}: params.yaml has no {section}", hint=f"{_ABOUT[section]} shows one")
            targets.extend([f"{stage}@{name}" for name in names[section]] if section else [stage])
    return list(dict.fromkeys(targets))


def _stage_names() -> dict[str, str | None]:
    """Stages of dvc.yaml → the section of params.yaml for whose every entry it is made, if any."""
    from greenlit.config import read_yaml

    stages = read_yaml(Path("dvc.yaml"))["stages"]
    return {name: stage["foreach"].strip("${}") if "foreach" in stage else None for name, stage in stages.items()}


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="A name under `methods` in params.yaml.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of that method, e.g. lora.r=8; may be repeated.")
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Write the changes into params.yaml.")] = False,
    launcher: Annotated[str | None, typer.Option(help=LAUNCHER_HELP)] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traces of faults.")] = False,
) -> None:
    """Train one method of params.yaml and what it needs; changes by --set go to results/trials/, unless --save."""
    from dotenv import load_dotenv

    from greenlit.paths import Paths
    from greenlit.training import command

    choose_launcher(launcher)
    if save and not settings:
        raise ConfigError("--save: nothing to save", hint="--set key=value says what to change")
    params, changes = command.changed_params(method, settings or [])
    if save:
        command.save_changes(changes)
    if save or not changes:
        _run_stages(params, [f"train@{method}"], debug=debug, command=f"greenlit train {method}")
        out = Paths.of(params).method(method)
    else:
        load_dotenv(".env")
        if debug:
            os.environ[DEBUG] = "1"
        with _ended_early(FAILED, f"`greenlit train {method} --set ...`"):
            out = command.try_out(params, changes, method, settings or [])
    print(out)


@app.command("train-reward-model")
def train_reward_model(
    data: Annotated[Path, typer.Option(help="JSONL with prompt, chosen, rejected.")],
    output: Annotated[Path, typer.Option(help="Where model/, metrics.json and logs/ go.")],
    base: Annotated[
        str, typer.Option(help="The model to start from: a directory, or a hub id.")
    ] = "assets/models/base",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. learning_rate=1e-5; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pairs held out, their order and the new head.")] = 0,
) -> None:
    """Train a reward model on your own preference pairs, outside of any experiment, and say what it is worth."""
    from greenlit.stage.hardware import limit_threads, quiet_libraries
    from greenlit.training import command

    quiet_libraries()
    limit_threads(1)
    metrics = command.reward_model_from(data, output, base, settings or [], seed)
    print(command.told_worth(metrics))
    print(output / "model")


@app.command()
def iterate(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at most.")],
    method: Annotated[
        str | None, typer.Option(help="Name under `methods` in params.yaml, where there are several.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Rounds without a gain on validation to stop after.")] = 1,
) -> None:
    """Train in rounds, each from the model of the one before; choose on validation, look at test once at the end.

    Every round keeps its files, in rounds/<experiment>/. Stopped or killed, the same command goes on where it was.
    """
    from dotenv import load_dotenv

    from greenlit.iterate.command import iterate_command

    load_dotenv(".env")
    with _ended_early(FAILED, "the same command"):
        iterate_command(method, rounds, patience)


@app.command()
def prefer(
    dataset: Annotated[str | None, typer.Option(help="Whose candidates; that of params.yaml.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--import", help="Add a file of others instead: JSONL of preferences or demonstrations."),
    ] = None,
    verdicts: Annotated[bool, typer.Option("--verdicts", help="Show what became of each program's tests.")] = False,
) -> None:
    """Rank candidates: which of two programs is better? Goes into human/<dataset>/, which `build` learns from.

    Keys: 1 left, 2 right, 0 skip, q quit. Every answer is kept at once; the same command goes on from there.
    """
    from greenlit.preferences.command import Options, prefer_command

    sys.exit(prefer_command(Options(dataset, source, verdicts)))


@app.command("calibrate-judge")
def calibrate_judge(
    problems: Annotated[int, typer.Option(min=1, help="Problems to ask about.")] = 60,
    programs: Annotated[int, typer.Option(min=2, help="Programs of each.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is written as JSON.")] = False,
) -> None:
    """How well does the AI judge of params.yaml agree with execution? Its weight may be above 0 only if well enough.

    Asks about annotated candidates of the train split, and keeps the result in calibration/<dataset>/. Exit code 1 if
    the judge is not fit.
    """
    from greenlit.feedback.calibration import Extent
    from greenlit.feedback.command import Options, calibrate_command

    sys.exit(calibrate_command(Options(Extent(problems, programs), as_json)))


@app.command()
def params(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of params.yaml instead.")] = False,
    file: Annotated[Path, typer.Option(help="The file to check.")] = Path("params.yaml"),
) -> None:
    """Check params.yaml and print it resolved, with every default."""
    from greenlit.config import json_schema, load_params

    content = json_schema() if schema else load_params(file).model_dump(by_alias=True)
    print(json.dumps(content, indent=2))


@app.command()
def preset(
    name: Annotated[str | None, typer.Argument(help="Which one; none lists them.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only print what would change.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace edits that are saved nowhere; kept as params.yaml.bak.")
    ] = False,
) -> None:
    """Swap params.yaml for a preset, showing what changes; edits that are saved nowhere are not replaced."""
    from greenlit import presets

    if name is None:
        print("\n".join(presets.described()))
        return
    path = presets.preset_file(name)
    changes = presets.to_preset(path)
    if diff:
        print_diff(changes, to_stderr=False)
        return
    kept = presets.swap(path, force)
    print_diff(changes, to_stderr=True)
    if kept:
        print(f"kept your params.yaml as {kept}", file=sys.stderr)
    print(f"params.yaml is now the preset {name}; next: greenlit run", file=sys.stderr)


@app.command("reproduce")
def reproduce_command(
    run: Annotated[str, typer.Argument(help="A record of results/runs/, or an experiment: its newest run.")],
    check: Annotated[
        bool, typer.Option("--check", help="Run nothing: compare what lies here now with the record.")
    ] = False,
) -> None:
    """Run a recorded run again from nothing, in a copy, and say what differs. Exit code 1 if anything does."""
    from dotenv import load_dotenv

    from greenlit.runs.reproduce import reproduce

    load_dotenv(".env")
    with _ended_early("a stage failed in the copy; its own message stands above", "the same command"):
        same = reproduce(run, check)
    sys.exit(0 if same else 1)


def print_diff(lines: list[str], to_stderr: bool) -> None:
    """Print a unified diff, coloured on a terminal."""
    from rich.console import Console
    from rich.text import Text

    colours = {"+": "green", "-": "red", "@": "cyan"}
    console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(line, style=colours.get(line[:1], "")))


@app.command()
def show() -> None:
    """Print the result table of the last report."""
    print_result()


@app.command()
def doctor(
    cheats: Annotated[bool, typer.Option(help="Run the cheat suite against the sandbox.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """Is this machine fit for Greenlit, and what does its sandbox stop? Exit code 1 if anything is red."""
    from dotenv import load_dotenv

    from greenlit import doctor as examination

    load_dotenv(".env")
    report = examination.examine(cheats)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        examination.show(report)
    if report.reds:
        print(f"{report.reds} red: something will fail; the fixes stand above", file=sys.stderr)
        raise typer.Exit(1)


def print_result() -> None:
    """The table of the experiment's summary, and where the report lies; the base model's alone without methods."""
    from rich.console import Console

    from greenlit.config import load_params
    from greenlit.evaluation.report import baseline_table, terminal_table
    from greenlit.jsonl import read_json
    from greenlit.paths import Paths

    params = load_params()
    paths = Paths.of(params)
    console = Console(width=None if sys.stdout.isatty() else 100)
    if not params.methods:
        console.print(baseline_table(params.experiment, read_json(paths.evaluation(None))))
        console.print(f"figures: {paths.evaluation(None)}")
        return
    console.print(terminal_table(read_json(paths.report("summary.json"))))
    console.print(f"report: {paths.report('summary.md')}")


def main() -> None:
    """Entry point of the console script."""
    exit_cleanly(app)


if __name__ == "__main__":
    main()
