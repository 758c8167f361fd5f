"""Complete results, resumably."""
