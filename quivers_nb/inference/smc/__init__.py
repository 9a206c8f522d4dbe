"""Sequential Monte Carlo: particles that are led from the prior to the posterior."""
