"""The judge's run on one's own machine: a cage with limits, samples of what the run takes, a verdict.

Starts the run as a process of its own, and knows of it what a judge sees.
"""
