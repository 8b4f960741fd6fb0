"""The command behind `greenlit iterate`."""

import sys

from greenlit.iterate.copies import run_step
from greenlit.iterate.plan import make_plan
from greenlit.iterate.results import answer, rounds_file, terminal_table
from greenlit.iterate.rounds import follow


def iterate_command(method: str | None, rounds: int, patience: int) -> None:
    """Run rounds; print their table and the answer.

    Raises:
        GreenlitError: params.yaml does not fit, the same rounds are at work already.
        StageFailedError: a stage failed in a round.
    """
    from rich.console import Console

    plan = make_plan(method, rounds, patience)
    found = follow(plan, run_step)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(terminal_table(found))
    console.print(answer(found), highlight=False, markup=False)
    console.print(f"rounds: {rounds_file(plan.name)}", highlight=False, markup=False)
