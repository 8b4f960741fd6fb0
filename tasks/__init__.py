"""One module per stage: `python -m tasks.<stage>` is the unit of work that DVC, Docker and SageMaker run."""
