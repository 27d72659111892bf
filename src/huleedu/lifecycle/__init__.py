"""The lifecycle (the seed's ELS): where each essay stands in each phase and run.

It hears which phase to run on which essays, hands out the work, and alone judges whether a result counts; it says how
each essay fares and, exactly once for each phase and run, what came of the phase.
"""
