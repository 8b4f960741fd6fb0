"""What became of a program, in a line or two."""

from greenlit.jsonl import one_line
from greenlit.types import Annotated


def show_verdict(graded: Annotated, tested: bool) -> None:
    """Print the verdict, with the error of a program that fails, and what each reward says.

    Args:
        tested: there were tests; else the program only had to run.
    """
    if graded.verdict == "infra":
        said = "no verdict: the sandbox failed"
    elif tested:
        said = f"{graded.verdict}: {graded.tests_passed} of {graded.tests_total} tests"
    else:
        said = "it runs (there are no tests)" if graded.verdict == "passed" else graded.verdict
    error = f"; {one_line(graded.error, 200)}" if graded.error else ""
    print(f"=> {said}{error}", flush=True)
    if tested:
        print(f"   reward {_figure(graded.reward)}{_each(graded)}", flush=True)


def _each(graded: Annotated) -> str:
    parts = [f"{name} {_figure(value)}" for name, value in graded.rewards.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
