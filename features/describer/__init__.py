"""The describer: stock Robocrystallographer's text, much faster, and the facts behind it."""

from features.describer import imports

imports.install()
