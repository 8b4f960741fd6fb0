"""All cheats, by class."""

from greenlit.execution.cheats import (
    answers,
    exits,
    files,
    harness,
    introspection,
    kernel,
    leftovers,
    network,
    processes,
    programs,
    resources,
)
from greenlit.execution.cheats.cheat import Cheat

CHEATS: tuple[Cheat, ...] = (
    *answers.EQUALITY,
    *answers.VALUES,
    *answers.WORK,
    *answers.EXCEPTIONS,
    *introspection.CHEATS,
    *harness.FORGED,
    *harness.HARNESS,
    *exits.EXITS,
    *exits.SIGNALS,
    *programs.OUTPUT,
    *programs.SOURCES,
    *programs.DIALOGUE,
    *resources.TIME,
    *resources.MEMORY,
    *resources.FLOODS,
    *processes.PROCESSES,
    *processes.OTHERS,
    *files.ENVIRONMENT,
    *files.FILES,
    *files.FOLDERS,
    *leftovers.STAY,
    *leftovers.DAMAGE,
    *network.CHEATS,
    *kernel.CHEATS,
)
