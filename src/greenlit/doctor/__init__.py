"""doctor: is this machine fit for Greenlit, and what does its judge stop?

Every line is green, yellow (works, but you should know) or red (something will fail), and what is not green says what
to do. Nothing heavy is imported: versions come from the packages' metadata, torch is asked in a process of its own.
"""

from greenlit.config import AnnotateParams
from greenlit.doctor import cluster, generation, installation, launching, machine, sandbox, trackers
from greenlit.doctor.lines import Report, read_params, show

__all__ = ["examine", "show"]


def examine(cheats: bool = True) -> Report:
    """Look at everything; the cheats take most of the time."""
    lines = [
        *installation.versions(),
        *installation.project(),
        *machine.machine(),
        *machine.gpu(),
        *generation.generation(),
        *cluster.cluster(),
        *trackers.trackers(),
        *launching.launching(),
    ]
    params, _ = read_params()
    return sandbox.sandbox(lines, params.annotate if params else AnnotateParams(allow_portable=True), cheats)
