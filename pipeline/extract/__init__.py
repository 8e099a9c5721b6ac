"""The bulk jobs: stages wired with Ray Data, sized, counted and reported. The sole home of ray.data."""
