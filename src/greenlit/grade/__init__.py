"""`greenlit grade`: verdicts for anyone's samples file, and what they add up to.

command.py   what the command line says
sources.py   problems from a file or a dataset, samples from a file
partial.py   OUT.partial: whole lines only, taken up again after a stop
figures.py   pass@k and verdict counts, from counts per problem
grade.py     all of it together
"""
