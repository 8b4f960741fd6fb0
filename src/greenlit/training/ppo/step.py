"""One step of the training, and one measurement on problems held out.

Shapes: _B completion, _T token of a completion, _N tokens of completions that have a reward.
"""

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from greenlit.config import PpoParams
from greenlit.errors import WorldError
from greenlit.training.ppo.advantages import gae, next_beta, token_rewards
from greenlit.training.ppo.batch import Batch, Experience, make_batch
from greenlit.training.ppo.learner import Learner, Opinion
from greenlit.training.ppo.monitors import Sums, explained_variance, mean_and_variance
from greenlit.training.ppo.problems import Prompt
from greenlit.training.ppo.sampling import sample, uniform_numbers
from greenlit.training.ppo.scoring import Scores, Scoring
from greenlit.training.ppo.state import Progress

if TYPE_CHECKING:
    from torch import Tensor

WITHOUT_REWARD = 3
"""Steps on end without a single reward that end the training."""

_SMALL = 1e-8


class Stepper:
    """Does the steps of a run; what they depend on is in `Progress` and `Learner`."""

    def __init__(self, params: PpoParams, seed: int, learner: Learner, scoring: Scoring, tokenizer: Any) -> None:
        self._params, self._seed, self._learner, self._scoring = params, seed, learner, scoring
        self._machine = learner.machine
        self._pad = tokenizer.pad_token_id
        self._ends = _end_tokens(learner.policy.lm, tokenizer)
        self._own_problems = params.batch_size // params.group_size
        self.problems = self._own_problems * self._machine.num_processes
        """Problems of a step, over all processes."""

    def step(self, progress: Progress, prompts: Sequence[Prompt]) -> dict[str, float]:
        """Sample, score, learn; bring `progress` up to date and return the step's metrics.

        Args:
            prompts: the step's problems, the same on every process.

        Raises:
            ConfigError: the training diverged.
            WorldError: no completion could be scored, for the third time on end.
        """
        params, machine = self._params, self._machine
        first, number = machine.process_index * self._own_problems, progress.step + 1
        own = prompts[first : first + self._own_problems]
        places = range(first * params.group_size, (first + len(own)) * params.group_size)
        completions = self._sample(own, f"step {number}", places)
        asked = [prompt for prompt in own for _ in range(params.group_size)]
        pending = self._scoring.ask(asked, completions)
        batch, sums = make_batch([one.ids for one in asked], completions, self._pad, machine.device), Sums(machine)
        self._add_lengths(completions, sums)
        opinion = self._learner.measure(batch, progress.beta > 0, sums)
        scores, measured = pending()
        metrics = _means_of(machine, measured) | {"beta": progress.beta}
        metrics |= self._learn(batch, opinion, scores, progress, sums) | sums.means()
        progress.completions += len(completions) * machine.num_processes
        if params.kl == "adaptive":
            progress.beta = next_beta(progress.beta, metrics["kl_completion"], params.kl_target)
        progress.step, progress.problems = number, progress.problems + len(prompts)
        return metrics

    def _sample(self, prompts: Sequence[Prompt], occasion: str, places: Sequence[int]) -> list[list[int]]:
        """A completion for each place, in the order of the prompts, which have equally many."""
        params, lm = self._params, self._learner.policy.lm.eval()
        uniform_B_T = uniform_numbers(self._seed, f"ppo/{occasion}", places, params.max_new_tokens)
        with self._learner.precision():
            return sample(lm, [prompt.ids for prompt in prompts], uniform_B_T, params, self._ends, self._pad)

    def _add_lengths(self, completions: list[list[int]], sums: Sums) -> None:
        """`completions/...`: length in tokens, and the share that ran out of tokens."""
        import torch

        lengths_B = torch.tensor([len(tokens) for tokens in completions], device=self._machine.device)
        cut_B = torch.tensor([tokens[-1] not in self._ends for tokens in completions], device=self._machine.device)
        sums.add("completions/mean_length", lengths_B)
        sums.add("completions/truncated", cut_B)

    def _learn(
        self, batch: Batch, opinion: Opinion, scores: list[float | None], progress: Progress, sums: Sums
    ) -> dict[str, float]:
        """Update the policy on the completions that have a reward; what that tells of reward, value and advantage."""
        import torch

        machine, device = self._machine, self._machine.device
        known_B = torch.tensor([score is not None for score in scores], device=device)
        score_B = torch.tensor([score or 0.0 for score in scores], dtype=torch.float64, device=device)
        rewarded = mean_and_variance(machine, score_B[known_B])
        progress.unrewarded += int(machine.reduce((~known_B).sum(), "sum"))
        sums.add("reward/none", ~known_B)
        progress.unrewarded_steps = 0 if rewarded else progress.unrewarded_steps + 1
        if rewarded is None:
            _check_rewards(progress.unrewarded_steps)
            return {}
        experience, figures = self._experience(batch, opinion, score_B, known_B, progress.beta)
        shuffle = random.Random(f"{self._seed}/ppo/minibatches/{progress.step}/{machine.process_index}")
        worst = self._learner.update(experience, shuffle, sums)
        return figures | {
            "reward": rewarded[0],
            "reward_std": rewarded[1] ** 0.5,
            "ratio/max": worst,
            "learning_rate": self._learner.learning_rate,
        }

    def _experience(
        self, batch: Batch, opinion: Opinion, score_B: "Tensor", known_B: "Tensor", beta: float
    ) -> tuple[Experience, dict[str, float]]:
        """What is to be learned, and figures on it from before the update."""
        params, written_B_T = self._params, batch.written_B_T
        rewards_B_T = token_rewards(score_B, opinion.kl_B_T, written_B_T, beta)
        advantage_B_T, return_B_T = gae(rewards_B_T, opinion.value_B_T, written_B_T, params.gamma, params.lam)
        counted_B_T = written_B_T & known_B[:, None]
        figures, mean, variance = self._figures(opinion.value_B_T, advantage_B_T, return_B_T, counted_B_T)
        if params.whiten:
            advantage_B_T = (advantage_B_T - mean) / (variance + _SMALL) ** 0.5
        experience = Experience(
            **vars(batch),
            counted_B_T=counted_B_T.float(),
            logprob_B_T=opinion.logprob_B_T,
            value_B_T=opinion.value_B_T,
            advantage_B_T=advantage_B_T,
            return_B_T=return_B_T,
        )
        return experience, figures

    def _figures(
        self, value_B_T: "Tensor", advantage_B_T: "Tensor", return_B_T: "Tensor", counted_B_T: "Tensor"
    ) -> tuple[dict[str, float], float, float]:
        """Figures on advantages and values, and the advantages' mean and variance."""
        value_N, return_N = value_B_T[counted_B_T], return_B_T[counted_B_T]
        mean, variance = mean_and_variance(self._machine, advantage_B_T[counted_B_T]) or (0.0, 0.0)
        figures = {"advantages/mean": mean, "advantages/std": variance**0.5}
        if self._params.value_coef:
            expected = mean_and_variance(self._machine, value_N)
            explained = explained_variance(self._machine, value_N, return_N)
            figures |= {"value/mean": expected[0]} if expected else {}
            figures |= {} if explained is None else {"explained_variance": explained}
        return figures, mean, variance

    def measure(self, unseen: Sequence[Prompt]) -> dict[str, float]:
        """One completion per problem, each time from the same random numbers: `eval_reward`, and what was measured."""
        import torch

        scores, measured = self._earned(unseen, 1, "held out")
        sums = Sums(self._machine)
        known = [score for score in scores if score is not None]
        sums.add("reward", torch.tensor(known, dtype=torch.float64, device=self._machine.device))
        sums.add("reward/none", torch.tensor([score is None for score in scores], device=self._machine.device))
        figures = _means_of(self._machine, measured) | sums.means()
        return {f"eval_{name}": value for name, value in figures.items()}

    def mean_rewards(self, prompts: Sequence[Prompt]) -> list[float | None]:
        """What the model as it is earns on each problem, in the mean over `group_size` completions."""
        size, machine = self._params.group_size, self._machine
        scores, _ = self._earned(prompts, size, "start")
        groups = [
            [score for score in scores[at : at + size] if score is not None] for at in range(0, len(scores), size)
        ]
        means = [sum(group) / len(group) if group else None for group in groups]
        if machine.num_processes == 1:
            return means
        from accelerate.utils import gather_object

        found = gather_object(list(zip(self._share_of(prompts), means, strict=True)))
        return [mean for _, mean in sorted(found)]

    def _share_of(self, prompts: Sequence[Prompt]) -> range:
        """Places of the prompts that this process takes."""
        return range(self._machine.process_index, len(prompts), self._machine.num_processes)

    def _earned(self, prompts: Sequence[Prompt], copies: int, occasion: str) -> Scores:
        """Scores of this process' share of the prompts, `copies` for each."""
        places, size = self._share_of(prompts), max(1, self._params.batch_size // copies)
        if not places:
            return [], {}
        completions: list[list[int]] = []
        for chunk in (places[at : at + size] for at in range(0, len(places), size)):
            numbers = [place * copies + copy for place in chunk for copy in range(copies)]
            completions += self._sample([prompts[place] for place in chunk], occasion, numbers)
        return self._scoring.ask([prompts[place] for place in places for _ in range(copies)], completions)()


def _means_of(machine: Any, measured: Mapping[str, float]) -> dict[str, float]:
    """What the reward function measured, as means over the processes that did."""
    from accelerate.utils import gather_object

    everywhere = gather_object([dict(measured)]) if machine.num_processes > 1 else [dict(measured)]
    names = sorted({name for one in everywhere for name in one})
    values = {name: [one[name] for one in everywhere if name in one] for name in names}
    return {name: float(sum(values[name]) / len(values[name])) for name in names}


def _check_rewards(steps_without: int) -> None:
    if steps_without >= WITHOUT_REWARD:
        raise WorldError(
            f"ppo: for {steps_without} steps on end no completion could be scored",
            hint="look at what the reward function says above; the same command goes on from the last checkpoint",
        )


def _end_tokens(lm: Any, tokenizer: Any) -> frozenset[int]:
    """Any of these ends a completion."""
    named = lm.generation_config.eos_token_id
    tokens = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return frozenset(token for token in tokens if token is not None)
