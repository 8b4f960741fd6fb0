"""Found first by a Python that a test starts with this folder on its path: hands a stage over to the warm process.

Only where WARM_STAGES names the warm process's socket, and only `python -m tasks.<stage>` of a stage that loads torch,
MLflow or matplotlib; everything else starts as ever.
"""

import os
import sys

if "WARM_STAGES" in os.environ:
    from handing_over import hand_over, taken

    given = [one for one in sys.orig_argv[1:4] if one != "-u"] + sys.orig_argv[4:]
    if given[:1] == ["-m"] and taken(given[1]):
        hand_over(os.environ["WARM_STAGES"], given[1], given[2:])
