"""One module per stage: `python -m tasks.<stage>` is the unit of work that DVC, Docker and SageMaker run.

A stage runs the `src/` beside it, whatever greenlit is installed: DVC runs queued experiments in copies of the project,
and a package installed with `pip install -e` is the code of the checkout it was installed from.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
