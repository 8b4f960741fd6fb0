"""What every stage needs around its own work, whatever that is.

entry.py      start and end: one at a time, errors as one sentence, exit codes, the end with DVC
launching.py  where it runs: here, or as a job elsewhere
stopping.py   signals: what they interrupt and what they wait for
faults.py     the world's errors in our words: disk, rights, memory
workspace.py  work folders to resume from, outs that appear whole
hardware.py   threads, processes, and what a result was made with
secrets.py    tokens from the environment and `.env`, kept out of everything written
progress.py   the bar

One folder, because DVC's stages name the code they run: here it is one line for all of it.
"""
