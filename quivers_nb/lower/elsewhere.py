"""What other systems have under names that a model does not have, and where it is here."""

ELSEWHERE = {
    **dict.fromkeys(
        ("log_prob", "logp", "log_likelihood", "score"),
        "model.log_joint(x, values) is the log density per row, model.log_density(x, values) that "
        "of all rows; values holds the data and every latent by name",
    ),
    **dict.fromkeys(
        ("sample", "draw", "prior_predictive", "sample_prior_predictive"),
        "model.trace(x, data) is one run with all its sites, Predictive(model, None, 100)(x, data) "
        "is 100 runs",
    ),
    **dict.fromkeys(
        ("fit", "run", "infer"),
        "fit_nuts(model, x, data) draws from its posterior, fit_svi(model, x, data) fits a guide",
    ),
}
