"""Phases: the slow work, one folder for each phase, and the queue that spreads it over worker processes.

It hears what work is wanted and which runs are cancelled; it says what came of each unit of work. A phase is a folder
with `model.py` (the algorithm) and `phase.py` (`preload`, `engine`, `run`), loaded in worker processes only.
"""
