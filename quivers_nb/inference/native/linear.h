/* Routines over whole buffers. `real` is the type of the emitted function. Matrices are given by
 * the stride of their non-contiguous axis; the other is contiguous. */

static inline void q_mv_columns(real *restrict y, const real *restrict a, const real *restrict x,
                                int64_t m, int64_t k, int64_t stride) {
    enum { BLOCK = 1024 };
    for (int64_t from = 0; from < m; from += BLOCK) {
        int64_t to = from + BLOCK < m ? from + BLOCK : m, j = 0;
        for (int64_t i = from; i < to; i++) y[i] = 0;
        for (; j + 8 <= k; j += 8) {
            const real *restrict c = a + j * stride;
            real x0 = x[j], x1 = x[j + 1], x2 = x[j + 2], x3 = x[j + 3];
            real x4 = x[j + 4], x5 = x[j + 5], x6 = x[j + 6], x7 = x[j + 7];
            for (int64_t i = from; i < to; i++)
                y[i] += x0 * c[i] + x1 * c[stride + i] + x2 * c[2 * stride + i] +
                        x3 * c[3 * stride + i] + x4 * c[4 * stride + i] + x5 * c[5 * stride + i] +
                        x6 * c[6 * stride + i] + x7 * c[7 * stride + i];
        }
        for (; j + 4 <= k; j += 4) {
            const real *restrict c = a + j * stride;
            real x0 = x[j], x1 = x[j + 1], x2 = x[j + 2], x3 = x[j + 3];
            for (int64_t i = from; i < to; i++)
                y[i] += x0 * c[i] + x1 * c[stride + i] + x2 * c[2 * stride + i] +
                        x3 * c[3 * stride + i];
        }
        for (; j < k; j++) {
            const real *restrict c = a + j * stride;
            real x0 = x[j];
            for (int64_t i = from; i < to; i++) y[i] += x0 * c[i];
        }
    }
}

/* y += a x */
static inline void q_mv_rows_add(real *restrict y, const real *restrict a, const real *restrict x,
                                 int64_t m, int64_t k, int64_t stride) {
    int64_t i = 0;
    for (; i + 4 <= m; i += 4) {
        const real *restrict r = a + i * stride;
        real s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int64_t j = 0; j < k; j++) {
            real xj = x[j];
            s0 += xj * r[j];
            s1 += xj * r[stride + j];
            s2 += xj * r[2 * stride + j];
            s3 += xj * r[3 * stride + j];
        }
        y[i] += s0;
        y[i + 1] += s1;
        y[i + 2] += s2;
        y[i + 3] += s3;
    }
    for (; i < m; i++) {
        const real *restrict r = a + i * stride;
        real s = 0;
        for (int64_t j = 0; j < k; j++) s += x[j] * r[j];
        y[i] += s;
    }
}

static inline void q_mv_rows(real *restrict y, const real *restrict a, const real *restrict x,
                             int64_t m, int64_t k, int64_t stride) {
    for (int64_t i = 0; i < m; i++) y[i] = 0;
    q_mv_rows_add(y, a, x, m, k, stride);
}

/* c[b, i, :] = sum over j of a[b, i, j] * b[b, j, :] */
static inline void q_mm_rows(real *restrict c, const real *restrict a, const real *restrict b,
                             int64_t batch, int64_t m, int64_t n, int64_t k, int64_t ab,
                             int64_t ai, int64_t aj, int64_t bb, int64_t bj) {
    for (int64_t t = 0; t < batch; t++)
        for (int64_t i = 0; i < m; i++) {
            real *restrict row = c + (t * m + i) * n;
            const real *restrict left = a + t * ab + i * ai;
            const real *restrict right = b + t * bb;
            int64_t j = 0;
            for (int64_t l = 0; l < n; l++) row[l] = 0;
            for (; j + 4 <= k; j += 4) {
                real x0 = left[j * aj], x1 = left[(j + 1) * aj];
                real x2 = left[(j + 2) * aj], x3 = left[(j + 3) * aj];
                const real *restrict r = right + j * bj;
                for (int64_t l = 0; l < n; l++)
                    row[l] += x0 * r[l] + x1 * r[bj + l] + x2 * r[2 * bj + l] + x3 * r[3 * bj + l];
            }
            for (; j < k; j++) {
                real x0 = left[j * aj];
                const real *restrict r = right + j * bj;
                for (int64_t l = 0; l < n; l++) row[l] += x0 * r[l];
            }
        }
}

/* c[b, i, l] = sum over j of a[b, i, j] * b[b, j, l], both contiguous along j */
static inline void q_mm_dots(real *restrict c, const real *restrict a, const real *restrict b,
                             int64_t batch, int64_t m, int64_t n, int64_t k, int64_t ab,
                             int64_t ai, int64_t bb, int64_t bl) {
    for (int64_t t = 0; t < batch; t++)
        for (int64_t i = 0; i < m; i++)
            q_mv_rows(c + (t * m + i) * n, b + t * bb, a + t * ab + i * ai, n, k, bl);
}

#define RUNNING(NAME, FIRST, NEXT)                                                               \
    static inline void NAME(real *restrict y, const real *restrict x, int64_t outer, int64_t n, \
                            int64_t inner) {                                                     \
        for (int64_t o = 0; o < outer; o++)                                                      \
            for (int64_t i = 0; i < n; i++)                                                      \
                for (int64_t j = 0; j < inner; j++) {                                            \
                    int64_t at = (o * n + i) * inner + j;                                        \
                    real here = x[at], before = i ? y[at - inner] : FIRST;                       \
                    y[at] = NEXT;                                                                \
                }                                                                                \
    }

static inline real q_log_add(real a, real b) {
    if (a != a || b != b) return a + b;
    real top = a > b ? a : b, low = a > b ? b : a;
    return isinf(top) ? top : top + (real)log1p(exp(low - top));
}

RUNNING(q_cumsum, 0, before + here)
RUNNING(q_cumprod, 1, before *here)
RUNNING(q_logcumsumexp, -INFINITY, i ? q_log_add(before, here) : here)

static inline void q_cholesky(real *restrict factor, const real *restrict matrix, int64_t batch,
                              int64_t n) {
    for (int64_t t = 0; t < batch; t++) {
        real *restrict l = factor + t * n * n;
        const real *restrict a = matrix + t * n * n;
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                real s = a[i * n + j];
                for (int64_t k = 0; k < j; k++) s -= l[i * n + k] * l[j * n + k];
                l[i * n + j] = i == j ? (s > 0 ? (real)sqrt(s) : (real)NAN) : s / l[j * n + j];
            }
            for (int64_t j = i + 1; j < n; j++) l[i * n + j] = 0;
        }
    }
}

/* x, which holds the right-hand side, becomes the solution of a x = b. */
static inline void q_solve_triangular(real *restrict x, const real *restrict a, int64_t batch,
                                      int64_t n, int64_t m, int64_t upper, int64_t unit) {
    for (int64_t t = 0; t < batch; t++) {
        real *restrict b = x + t * n * m;
        const real *restrict l = a + t * n * n;
        for (int64_t step = 0; step < n; step++) {
            int64_t i = upper ? n - 1 - step : step;
            int64_t from = upper ? i + 1 : 0, to = upper ? n : i;
            for (int64_t k = from; k < to; k++) {
                real c = l[i * n + k];
                for (int64_t j = 0; j < m; j++) b[i * m + j] -= c * b[k * m + j];
            }
            real over = unit ? 1 : 1 / l[i * n + i];
            for (int64_t j = 0; j < m; j++) b[i * m + j] *= over;
        }
    }
}

static inline void q_swap_rows(real *restrict a, int64_t i, int64_t j, int64_t m) {
    for (int64_t l = 0; i != j && l < m; l++) {
        real held = a[i * m + l];
        a[i * m + l] = a[j * m + l];
        a[j * m + l] = held;
    }
}

/* Both triangles of a matrix whose rows were exchanged, and below them, as a row of its own, which
 * row each was exchanged with. By rows, greatest pivot first (Golub and Van Loan, 3.4.1). */
static inline void q_lu(real *restrict factor, const real *restrict matrix, int64_t batch,
                        int64_t n) {
    for (int64_t t = 0; t < batch; t++, factor += (n + 1) * n, matrix += n * n) {
        memcpy(factor, matrix, sizeof(real) * n * n);
        for (int64_t k = 0; k < n; k++) {
            int64_t best = k;
            for (int64_t i = k + 1; i < n; i++)
                if (fabs(factor[i * n + k]) > fabs(factor[best * n + k])) best = i;
            factor[n * n + k] = best;
            q_swap_rows(factor, k, best, n);
            const real *restrict top = factor + k * n;
            for (int64_t i = k + 1; i < n; i++) {
                real *restrict row = factor + i * n;
                real c = top[k] == 0 ? 0 : row[k] / top[k];
                row[k] = c;
                for (int64_t j = k + 1; j < n; j++) row[j] -= c * top[j];
            }
        }
    }
}

/* x, which holds the right-hand side, becomes the solution of a x = b, or of a' x = b where the
 * triangles are `transposed`. A matrix that is singular gives NaN. */
static inline void q_lu_solve(real *restrict x, const real *restrict lu, const int64_t *restrict rows,
                              int64_t batch, int64_t n, int64_t m, int64_t transposed) {
    for (int64_t t = 0; t < batch; t++, x += n * m, lu += n * n, rows += n) {
        int64_t singular = 0;
        for (int64_t k = 0; k < n; k++) singular |= lu[k * n + k] == 0;
        for (int64_t k = 0; !transposed && k < n; k++) q_swap_rows(x, k, rows[k], m);
        q_solve_triangular(x, lu, 1, n, m, 0, !transposed);
        q_solve_triangular(x, lu, 1, n, m, 1, transposed);
        for (int64_t k = n; transposed && k-- > 0;) q_swap_rows(x, k, rows[k], m);
        for (int64_t l = 0; singular && l < n * m; l++) x[l] = (real)NAN;
    }
}
