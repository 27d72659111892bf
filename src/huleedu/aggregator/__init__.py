"""The aggregator (the seed's result_aggregator_service): what teachers see, and their feeds.

It hears what happened, asks the owners what is true now, and keeps views of that; every change of a view is an entry
in its teacher's feed, in the same transaction. The views can be made again from the owners at any time.
"""
