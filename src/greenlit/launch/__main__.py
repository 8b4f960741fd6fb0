"""python -m greenlit.launch train --method dpo: a stage as a job; see driving.py."""

from greenlit.launch.driving import main
from greenlit.stage.entry import exit_cleanly

if __name__ == "__main__":
    exit_cleanly(main)
