"""The embedded starter problems: small Python functions composed of a domain, a filter, a map and a reduce.

Nothing is downloaded: `starter_problems` generates the problems, `corpus` the programs that warm-start the tiny model
of greenlit.starter_model. A problem reads, shortened:

    task_id      starter/sum_squares_even_nums
    prompt       Sum of the squares of the even numbers in nums.
    entry_point  sum_squares_even_nums
    tests        shown [[4, 3]] -> 16, reward [[-2, 5, 6]] -> 40, ..., hidden [[]] -> 0, ...
    reference    def sum_squares_even_nums(nums): return sum(x * x for x in nums if x % 2 == 0)

Compositions (the four parts; constants and wording excluded) are split by hash into pretrain, train, validation and
test, so no composition that is evaluated was ever a training example, though all its parts were.

What a gain on these problems means: the corpus is of mixed quality on purpose, with named misconceptions (`at least k`
written as `> k`, a product that starts from 0) and slips, some of them more frequent than the right form. The starter
model imitates them; execution feedback is the only signal that says which form is right. So a gain is the unlearning
of planted misconceptions, plus sharpening (less of the probability on rare slips), carried over to unseen
compositions. It shows that the pipeline turns verdicts into better programs. It says nothing about how much a large
code model would gain on real problems.
"""

from greenlit.problems.starter.build import starter_problems
from greenlit.problems.starter.corpus import corpus

__all__ = ["corpus", "starter_problems"]
