"""Markov chain Monte Carlo: pure samplers over targets, and the run that drives them."""
