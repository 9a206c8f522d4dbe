/* A density in single precision for chains, whose positions and gradients are double. */
double chain_density(const double *q, double *g, const void *const *data, void *work) {
    float *x = work, *slope = x + PLACE, *w = slope + PLACE;
    for (int i = 0; i < DIM; i++) x[i] = (float)q[i];
    double value = density(x, slope, data, w);
    for (int i = 0; i < DIM; i++) g[i] = slope[i];
    return value;
}
