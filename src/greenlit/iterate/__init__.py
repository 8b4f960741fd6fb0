"""Rounds: train, and train again from the model that came out, on candidates that it has sampled itself.

    params.yaml -> plan.make_plan -> rounds.follow: step after step -> choosing.Choice -> test once -> results

A step is a `greenlit run` in a copy of the project of its own (copies), so that no round overwrites another's files,
params.yaml or dvc.lock; the copies share DVC's cache, MLflow's store and the verdicts found before.
"""
