/* Matrix products of a size at which the library that torch links is faster than loops. Its address
 * is given after loading. Sizes are passed as 64-bit numbers: a library that reads 32 bits finds the
 * same ones at the same place on a machine that stores the low bytes first. */
typedef void (*gemm_fn)(const char *, const char *, const int64_t *, const int64_t *,
                        const int64_t *, const real *, const real *, const int64_t *, const real *,
                        const int64_t *, const real *, real *, const int64_t *);
static gemm_fn q_library;

void use_library(gemm_fn gemm) { q_library = gemm; }

/* c[t, i, :] = sum over j of a[t, i, j] * b[t, j, :]; one of the last two axes of each of a and b
 * is contiguous. Fortran reads rows as columns, so it is told of the transposed product. */
static inline void q_gemm(real *c, const real *a, const real *b, int64_t batch, int64_t m,
                          int64_t n, int64_t k, int64_t at, int64_t ai, int64_t aj, int64_t bt,
                          int64_t bj, int64_t bl) {
    const real one = 1, zero = 0;
    const char *turn_a = aj == 1 ? "N" : "T", *turn_b = bl == 1 ? "N" : "T";
    int64_t lead_a = aj == 1 ? ai : aj, lead_b = bl == 1 ? bj : bl;
    for (int64_t t = 0; t < batch; t++)
        q_library(turn_b, turn_a, &n, &m, &k, &one, b + t * bt, &lead_b, a + t * at, &lead_a, &zero,
                  c + t * m * n, &n);
}
