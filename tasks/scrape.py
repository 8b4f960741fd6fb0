"""scrape: problems from a web site, where params.yaml says that this is permitted; slowly, and nothing asked twice.

Reads   the site (GREENLIT_LEETCODE_URL: another address), and the answers that came before, in .work/scrape/<source>/
Writes  assets/raw/scraped/<source>/     problems.jsonl, skipped.jsonl, responses.jsonl, source.json
Params  scrape.sources.<source>
"""

import sys
from pathlib import Path
from typing import Any

from greenlit.config import Params, load_params_and_source
from greenlit.paths import Paths
from greenlit.scraping.folder import RESPONSES, count_lines, write_folder
from greenlit.scraping.leetcode import address, scrape_leetcode
from greenlit.scraping.responses import Responses
from greenlit.scraping.sample import sample_problems
from greenlit.scraping.site import Site
from greenlit.stage.entry import run_stage
from greenlit.stage.workspace import ANSWERS, atomic_folder
from greenlit.tracking.runs import tracked


def run(params: Params, source: str, out: Path) -> dict[str, Any]:
    """Collect one source; return the counts."""
    if source == "sample" or params.scrape.sources.leetcode is None:
        with atomic_folder(out) as part:
            return write_folder(part, {"source": source}, sample_problems(), None)
    settings, responses = params.scrape.sources.leetcode, Responses(ANSWERS / source)
    responses.take_in(out / RESPONSES)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with Site(address(), settings, responses, tell=tell) as site, atomic_folder(out) as part:
        origin = {"source": source, "url": site.url, "terms": settings.terms}
        return write_folder(part, origin, scrape_leetcode(settings, site), responses)


def main() -> None:
    """Run as params.yaml says."""
    params, source = load_params_and_source(__doc__)
    out = Paths.scraped(source)
    with tracked(params, "scrape", "scrape", method=source) as tracker:
        counts = run(params, source, out)
        tracker.file(out / "source.json")
        tracker.figures(counts)
    print("\n".join(count_lines(source, counts)), file=sys.stderr)


if __name__ == "__main__":
    run_stage(main, "--source")
