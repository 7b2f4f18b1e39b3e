"""What the words of a description say, as tokens: elements, terms of the field, and numbers as numbers."""
