"""Files: uploads, their texts, and the list of a batch's essays.

It hears when runs end (the intake opens again) and when a batch is erased; it says which essays came, went or were
refused. Nobody else stores an original, a text or a file name.
"""
