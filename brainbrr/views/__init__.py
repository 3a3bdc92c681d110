"""Views onto a store: which recordings, how much is ready, what is missing, what to keep."""
