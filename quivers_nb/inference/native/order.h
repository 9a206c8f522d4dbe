/* Which element of a row comes at which place. Elements are compared by whole numbers, their keys,
 * so that NaN and zeros of either sign need no thought; of equal ones the first comes first. Rows
 * are contiguous, and `room` holds a few of them. */

static inline int64_t q_whole_key(int64_t x) { return x; }

/* The bits of a real number are its size behind its sign. NaN, of either sign, is the greatest. */
static inline int64_t q_real_key(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? INT64_MAX : bits < 0 ? INT64_MIN - bits : bits;
}

enum { RUN = 16 }; /* elements: insertion sorts so few faster than merging does */

static inline void q_insert(int64_t *restrict key, int64_t *restrict place, int64_t n) {
    for (int64_t from = 0; from < n; from += RUN) {
        int64_t end = from + RUN < n ? from + RUN : n;
        for (int64_t i = from + 1; i < end; i++) {
            int64_t k = key[i], p = place[i], j = i;
            for (; j > from && key[j - 1] > k; j--) {
                key[j] = key[j - 1];
                place[j] = place[j - 1];
            }
            key[j] = k;
            place[j] = p;
        }
    }
}

/* Runs of `width` become runs of twice that. The choice is arithmetic: it cannot be foreseen. */
static inline void q_merge(int64_t *restrict key, int64_t *restrict place, const int64_t *restrict k,
                           const int64_t *restrict p, int64_t n, int64_t width) {
    for (int64_t from = 0; from < n; from += 2 * width) {
        int64_t half = from + width < n ? from + width : n;
        int64_t end = half + width < n ? half + width : n, i = from, j = half, to = from;
        int64_t apart = half < end && k[half - 1] <= k[half];
        while (!apart && i < half && j < end) {
            int64_t right = k[j] < k[i], at = right ? j : i;
            key[to] = k[at];
            place[to++] = p[at];
            i += !right;
            j += right;
        }
        for (; i < half; i++) {
            key[to] = k[i];
            place[to++] = p[i];
        }
        for (; j < end; j++) {
            key[to] = k[j];
            place[to++] = p[j];
        }
    }
}

/* Merge sort from the bottom: `place` becomes the order of the `n` keys at the front of `room`, which
 * has 3 n elements. The places begin where an even number of passes brings them home. */
static inline void q_sort(int64_t *place, int64_t *room, int64_t n) {
    int64_t *key = room, *other_key = room + n, *at = place, *other = room + 2 * n, *swapped;
    for (int64_t width = RUN; width < n; width *= 2) {
        swapped = at;
        at = other;
        other = swapped;
    }
    for (int64_t i = 0; i < n; i++) at[i] = i;
    q_insert(key, at, n);
    for (int64_t width = RUN; width < n; width *= 2) {
        q_merge(other_key, other, key, at, n, width);
        swapped = key;
        key = other_key;
        other_key = swapped;
        swapped = at;
        at = other;
        other = swapped;
    }
}

/* The place of the k-th in order: by digits of four bits, greatest first, only those elements are
 * looked at again whose digit is that of the k-th. Linear, however the keys are spread. */
static inline int64_t q_kth(int64_t *room, int64_t n, int64_t k) {
    int64_t *key = room, *place = room + n;
    for (int64_t i = 0; i < n; i++) place[i] = i;
    for (int shift = 60; shift >= 0 && n > 1; shift -= 4) {
        int64_t count[16] = {0}, digit = 0, kept = 0;
        for (int64_t i = 0; i < n; i++) count[((uint64_t)key[i] ^ (1ULL << 63)) >> shift & 15]++;
        while (k >= count[digit]) k -= count[digit++];
        for (int64_t i = 0; i < n; i++) {
            int64_t same = (int64_t)(((uint64_t)key[i] ^ (1ULL << 63)) >> shift & 15) == digit;
            key[kept] = key[i];
            place[kept] = place[i];
            kept += same;
        }
        n = kept;
    }
    return place[k];
}

#define ORDERS(KIND, TYPE)                                                                         \
    static inline void q_sort_##KIND(int64_t *place, int64_t *room, const TYPE *restrict x,        \
                                     int64_t rows, int64_t n, int64_t descending) {                \
        for (int64_t r = 0; r < rows; r++, x += n, place += n) {                                   \
            for (int64_t i = 0; i < n; i++) room[i] = q_##KIND##_key(x[i]) ^ -descending;          \
            q_sort(place, room, n);                                                                \
        }                                                                                          \
    }                                                                                              \
    static inline void q_kth_##KIND(int64_t *place, int64_t *room, const TYPE *restrict x,         \
                                    int64_t rows, int64_t n, int64_t k) {                          \
        for (int64_t r = 0; r < rows; r++, x += n) {                                               \
            for (int64_t i = 0; i < n; i++) room[i] = q_##KIND##_key(x[i]);                        \
            place[r] = q_kth(room, n, k);                                                          \
        }                                                                                          \
    }

ORDERS(real, real)
ORDERS(whole, int64_t)

/* Of two elements in the middle the lesser. A row with NaN has its first NaN there, or, `skipping`
 * them, the middle of what is left. */
static inline void q_median(int64_t *place, int64_t *room, const real *restrict x, int64_t rows,
                            int64_t n, int64_t skipping) {
    for (int64_t r = 0; r < rows; r++, x += n) {
        int64_t numbers = 0;
        for (int64_t i = 0; i < n; i++) {
            room[i] = q_real_key(x[i]);
            numbers += room[i] != INT64_MAX;
        }
        int64_t middle = numbers ? (numbers - 1) / 2 : 0;
        place[r] = q_kth(room, n, numbers < n && !skipping ? numbers : middle);
    }
}

/* The place of the extreme so far, of equal ones the last; NaN stays. An axis between two others. */
#define RUNNING_EXTREME(NAME, TYPE, BEYOND)                                                        \
    static inline void NAME(int64_t *restrict place, const TYPE *restrict x, int64_t outer,        \
                            int64_t n, int64_t inner) {                                            \
        for (int64_t o = 0; o < outer; o++)                                                        \
            for (int64_t i = 0; i < n; i++)                                                        \
                for (int64_t j = 0; j < inner; j++) {                                              \
                    int64_t at = (o * n + i) * inner + j, best = i ? place[at - inner] : 0;        \
                    TYPE here = x[at], top = x[(o * n + best) * inner + j];                        \
                    place[at] = here != here || here BEYOND top ? i : best;                        \
                }                                                                                  \
    }

RUNNING_EXTREME(q_cummax_real, real, >=)
RUNNING_EXTREME(q_cummax_whole, int64_t, >=)
RUNNING_EXTREME(q_cummin_real, real, <=)
RUNNING_EXTREME(q_cummin_whole, int64_t, <=)

/* How many elements of a sorted row are less than a number, or, `right`, not greater. */
#define SEARCH(NAME, TYPE)                                                                         \
    static inline void NAME(int64_t *restrict place, const TYPE *restrict sorted,                  \
                            const TYPE *restrict x, int64_t rows, int64_t m, int64_t n,            \
                            int64_t right) {                                                       \
        for (int64_t r = 0; r < rows; r++, sorted += m)                                            \
            for (int64_t i = 0; i < n; i++, x++, place++) {                                        \
                int64_t low = 0, high = m;                                                         \
                while (low < high) {                                                               \
                    int64_t half = low + (high - low) / 2;                                         \
                    int beyond = right ? sorted[half] > *x : sorted[half] >= *x;                   \
                    low = beyond ? low : half + 1;                                                 \
                    high = beyond ? half : high;                                                   \
                }                                                                                  \
                *place = low;                                                                      \
            }                                                                                      \
    }

SEARCH(q_search_real, real)
SEARCH(q_search_whole, int64_t)
