"""Stages as jobs elsewhere: a driver here that starts, follows and stops a job, and what runs in the job's container.

settings.py    `sagemaker:` in settings.yaml
stages.py      a stage as dvc.yaml has it: command, inputs, code, outs, parameters
plan.py        what a job is going to be: image, channels, machine, name
cost.py        what it may cost
sending.py     inputs and code on their way to S3
access.py      AWS: region, credentials, refusals as errors of ours
jobs.py        SageMaker's jobs: start, find, describe, stop
following.py   logs and states, until the end
fetching.py    the model archive back, checked, into the stage's outs
driving.py     all of that in order: what stands in the stage's place
container.py   what runs in the job: the same `python -m tasks.<stage>`
layout.py      a container's folders on this machine
showing.py     a plan, to look at
cli.py         `greenlit launch`
"""
