"""How good a head is: scores, leakage, and what a colleague reads of both."""
