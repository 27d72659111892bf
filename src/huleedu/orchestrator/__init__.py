"""The orchestrator (the seed's BOS): batches, their plans and pipeline states; the single source of truth.

It hears starts and cancels from the gateway, essays from files and phase outcomes from the lifecycle; it says which
phase to run next, and, whenever a batch's version grows, that it has grown: ask me.
"""
