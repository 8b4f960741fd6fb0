"""From graded candidates to claims: pass@k, intervals, paired comparison, report and plots.

    rows (Annotated) -> summary.summarise -> summary.evaluation_document -> compare.compare -> report.build_summary
                     -> markdown, tables, plots

Shape suffixes: _P problems, _N samples of a problem, _R resamples, _V distinct values, _M non-zero differences.
"""
