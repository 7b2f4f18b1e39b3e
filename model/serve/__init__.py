"""`python -m model serve`: the page of predictions, live on this machine."""
