"""What an account and a region are like, before anything is made: looked at once, judged elsewhere.

Nothing here changes anything. What could not be found out is said to be unknown, with the reason.
"""
