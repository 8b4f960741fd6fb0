"""The `greenlit data` commands as typer sees them; command.py does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="data",
    help="Look at problems, check your own, hand them to other tools.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dataset = Annotated[str, typer.Argument(help="A dataset, as `greenlit data list` names it, or a file of your own.")]
Raw = Annotated[Path | None, typer.Option(help="The dataset's own file; else what `prepare` or `fetch` left.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every dataset: what it is, size, language, licence, where from, and the presets that use it."""
    from greenlit.data.command import list_command

    sys.exit(list_command(as_json))


@app.command()
def show(
    dataset: Dataset,
    task_id: Annotated[str | None, typer.Option(help="Which problem; the first without it.")] = None,
    path: Raw = None,
    as_json: Json = False,
) -> None:
    """One problem: statement, starter code, tests with their roles, reference."""
    from greenlit.data.command import show_command

    sys.exit(show_command(dataset, task_id, path, as_json))


@app.command()
def stats(
    dataset: Dataset,
    path: Raw = None,
    plot: Annotated[Path | None, typer.Option(help="The picture; results/data/<dataset>.png without it.")] = None,
    as_json: Json = False,
) -> None:
    """Problems by split, tests of each, lengths, difficulty: a table and a picture."""
    from greenlit.data.command import stats_command

    sys.exit(stats_command(dataset, path, plot, as_json))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Own problems: JSON Lines (.gz too), or a JSON list.")],
    run: Annotated[bool, typer.Option(help="Run references and wrong programs against the tests.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; GREENLIT_WORKERS, or one per core.")] = None,
    allow_portable: Annotated[
        bool, typer.Option("--allow-portable", help="Allow the level without a jail, where no other works.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Every fault of a file of own problems, by line, each with a fix. Exit code 2 where there are faults."""
    from greenlit.data.command import check_command

    sys.exit(check_command(file, run, workers, allow_portable, as_json))


@app.command()
def export(
    dataset: Dataset,
    to: Annotated[
        str, typer.Option(help="humaneval, evalplus, trl or livecodebench; docs/data.md says what they are.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write: JSON Lines (.gz too).")],
    path: Raw = None,
    split: Annotated[str | None, typer.Option(help="train, validation, test or all; train for trl, else test.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="trl: message lists instead of plain text.")] = False,
) -> None:
    """Write problems as the file of another tool; what does not fit is counted and said."""
    from greenlit.data.command import export_command

    sys.exit(export_command(dataset, to, out, path, split, chat))
