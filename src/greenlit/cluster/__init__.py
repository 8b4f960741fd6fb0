"""Shards of sampling and grading on a Ray cluster, when the machine's settings name one.

session.py   where the cluster is, and the connection to it
crew.py      workers on the cluster: shards handed out, results taken in, the dead replaced
member.py    one such worker, on its node
parcel.py    a model's directory on its way to the nodes
sampling.py  batches of completions written by a crew
judging.py   programs judged by a crew: the same interface as a judge of this machine

What runs where changes no result: the pieces of work are cut as on one machine, and the same code does them.
"""
