"""What every room shares: values, files, grids. Knows nothing of the rest of the house."""
