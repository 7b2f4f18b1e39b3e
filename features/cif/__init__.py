"""Reading a CIF: from its text to the crystal that it means, or the reason why there is none."""
