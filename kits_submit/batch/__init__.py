"""Many cases: who computes them, what fits into memory, what is done already, what stands in place of a failed one.

In: cases and a model. Out: masks, `run.json`, one `CaseResult` a case. Prints nothing and scores nothing.
"""
