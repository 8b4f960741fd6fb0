"""The Ray cluster that the settings of this machine name: is it there, and what do its nodes run programs in?"""

from collections.abc import Iterator

from greenlit.cluster import session
from greenlit.config import AnnotateParams
from greenlit.doctor.lines import Line, read_params
from greenlit.errors import GreenlitError

_LEVEL_S = 60.0
"""A node that does not say its level by then has no free CPU, or no working Greenlit."""


def cluster() -> Iterator[Line]:
    """Address, nodes, CPUs and GPUs; and each node's sandbox level."""
    try:
        if not session.wanted():
            yield Line("ray", "address", "green", f"{session.ADDRESS} is not set: shards run on this machine")
            return
        found = session.connect()
        gpus = session.gpus_each(found)
        sampling, judging = session.most_workers(found, gpus), session.most_workers(found, 0.0)
    except GreenlitError as error:
        yield Line("ray", "address", "red", str(error.args[0]), error.hint or f"correct {session.ADDRESS}, or unset it")
        return
    yield Line("ray", "address", "green", found.told)
    each = f"{gpus:g} GPU each" if gpus else "on CPUs"
    yield Line("ray", "workers", "green", f"{sampling} to sample, {each}; {judging} to judge")
    params, _ = read_params()
    yield from _levels(params.annotate if params else AnnotateParams(allow_portable=True))


def _levels(params: AnnotateParams) -> Iterator[Line]:
    """One member on each node builds its sandbox and says what it is."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from greenlit.cluster.judging import Grader, stated_level

    asked = {}
    for node in (one for one in ray.nodes() if one["Alive"]):
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        actor = ray.remote(num_cpus=1, max_restarts=0)(Grader).options(scheduling_strategy=place).remote()
        name = f"{node['NodeManagerHostname']} {node['NodeID'][:8]}"
        asked[actor.open.remote(params, stated_level(), 0)] = name, actor
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_LEVEL_S)
    for call, (name, actor) in asked.items():
        yield _level(name, call) if call in done else _silent(name)
        ray.kill(actor)


def _level(name: str, call: object) -> Line:
    import ray

    try:
        level, notes, _ = ray.get(call)
    except ray.exceptions.RayTaskError as fault:
        return Line("ray", f"node {name}", "red", str(fault.cause), "run `greenlit doctor` on that node")
    except ray.exceptions.RayError as fault:
        return Line("ray", f"node {name}", "red", str(fault).splitlines()[0], "see Ray's logs on that node")
    state = "yellow" if level == "portable" else "green"
    fix = "only for programs of a model you trust; run `greenlit doctor` on that node" if state == "yellow" else None
    return Line("ray", f"node {name}", state, f"sandbox level {'; '.join([level, *notes])}", fix)


def _silent(name: str) -> Line:
    text = f"said nothing for {_LEVEL_S:g} s"
    return Line("ray", f"node {name}", "yellow", text, "`ray status` says whether it has a free CPU")
