"""The `greenlit models` commands as typer sees them; command.py does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="models",
    help="The registry: versions, champion, where they came from.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Which = Annotated[str, typer.Argument(help="A version: 3, v3, champion or candidate.")]
Name = Annotated[
    str | None, typer.Option("--model", help="Registered model; register.model of params.yaml without it.")
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_(model: Name = None, as_json: Json = False) -> None:
    """All versions: method, figures with intervals, what the gate decided."""
    from greenlit.registry import command

    sys.exit(command.list_command(model, as_json))


@app.command()
def show(version: Which = "champion", model: Name = None, as_json: Json = False) -> None:
    """One version: figures, decision, settings, audit, leaks, hashes."""
    from greenlit.registry import command

    sys.exit(command.show_command(version, model, as_json))


@app.command()
def compare(before: Which, after: Which, measure: bool = False, model: Name = None, as_json: Json = False) -> None:
    """The paired difference of two versions; with --measure both are measured here first. Moves nothing."""
    from greenlit.registry import command

    sys.exit(command.compare_command(before, after, model, measure, as_json))


@app.command()
def promote(version: Which, measure: bool = False, model: Name = None, as_json: Json = False) -> None:
    """Ask the gate about a version again: champion moves if it is surely better. Exit code 1 if it does not.

    With --measure it and the champion are measured on the test set that lies here first, which counts as a look.
    """
    from greenlit.registry import command

    sys.exit(command.promote_command(version, model, measure, as_json))


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is written on the version.")], model: Name = None
) -> None:
    """Make the champion before this one champion again."""
    from greenlit.registry import command

    sys.exit(command.rollback_command(reason, model))


@app.command()
def lineage(version: Which = "champion", model: Name = None, as_json: Json = False) -> None:
    """The chain from a version back to its datasets: every stage, what it read and wrote, with DVC's hashes."""
    from greenlit.registry import command

    sys.exit(command.lineage_command(version, model, as_json))


@app.command()
def download(
    version: Which, out: Annotated[Path, typer.Argument(help="A folder that is not there yet.")], model: Name = None
) -> None:
    """A version's model directory: what transformers and vLLM load."""
    from greenlit.registry import command

    sys.exit(command.download_command(version, out, model))
