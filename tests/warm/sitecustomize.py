"""Found first by a Python that a test starts with this folder on its path: hands a stage over to the warm process.

Only where WARM_STAGES names the warm process's socket, and only `python -m tasks.<stage>` of a stage that loads torch,
MLflow or matplotlib; everything else starts as ever.
"""

import os
import sys

if "WARM_STAGES" in os.environ and sys.orig_argv[1:2] == ["-m"]:
    from handing_over import hand_over, taken

    if taken(sys.orig_argv[2]):
        hand_over(os.environ["WARM_STAGES"], sys.orig_argv[2], sys.orig_argv[3:])
