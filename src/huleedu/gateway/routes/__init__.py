"""The public routes, a file for each resource."""
