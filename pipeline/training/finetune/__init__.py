"""The CNN itself trained from pictures: decoded once by the bulk job, then learned from in epochs by Ray Train."""
