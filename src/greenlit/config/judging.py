"""Parts of params.yaml that say when a program passes, and sampling that goes by it."""

from pydantic import Field

from greenlit.config.section import Section


class AnnotateParams(Section):
    """Limits on a running candidate; baseline and evaluate judge under the same."""

    timeout_s: float = Field(default=10.0, gt=0)
    """Wall-clock backstop for one run of one candidate, in seconds; up to four times that while it really computes."""
    cpu_factor: float = Field(default=10.0, ge=1)
    """CPU limit as a multiple of the reference solution's CPU time."""
    cpu_min_s: float = Field(default=0.5, gt=0)
    """CPU limit is never below this, in seconds."""
    cpu_max_s: float = Field(default=5.0, gt=0)
    """CPU limit is never above this, in seconds; also the limit where there is no reference."""
    memory_mib: int = Field(default=512, ge=64)
    """Address space of the candidate's process, in MiB; a problem's own limit wins."""
    output_kib: int = Field(default=1024, ge=1)
    """What a candidate may print or return, in KiB."""
    allow_portable: bool = False
    """Allow the portable sandbox level: limits and a private folder, but no jail."""


class AdaptiveParams(Section):
    """Sampling in rounds: a problem is done once enough unlike programs pass, and enough fail, for its pairs."""

    max_n: int = Field(ge=2)
    """Most samples per problem, all rounds together; the first round takes generate.n of every problem."""
    round: int = Field(default=8, ge=1)
    """Samples that each further round takes of the problems that are not done."""
    passes: int = Field(default=2, ge=1)
    """Unlike programs that pass, as the pairs count them."""
    fails: int = Field(default=2, ge=1)
    """Unlike programs that fail."""
    limits: AnnotateParams = AnnotateParams()
    """What `annotate` says: it decides who passes, so it is part of what the samples depend on."""

    def unlike(self, annotate: AnnotateParams) -> str:
        """`timeout_s 10.0 and 5.0` for every limit that differs from the ones of `annotate`."""
        own, said = self.limits.model_dump(), annotate.model_dump()
        return ", ".join(f"{key} {own[key]} and {said[key]}" for key in own if own[key] != said[key])
