"""The fleet: what should be, on its way to the cells, and what was seen, on its way back.

``service`` writes intent, ``dispatch`` delivers what is due, ``ingest`` takes reports in. All
three meet in the store and nowhere else, so any of them may die at any moment.
"""
