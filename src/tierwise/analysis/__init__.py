"""What runs mean: rows, contrasts, comparisons, gates. Reads the records of runs; starts nothing."""
