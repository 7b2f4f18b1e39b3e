"""The describer: stock Robocrystallographer's text, much faster, and the facts behind it."""

from features.describer import prototypes

prototypes.install()
