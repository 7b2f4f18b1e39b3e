"""The commands of `python -m features`, a module for each group of them."""
