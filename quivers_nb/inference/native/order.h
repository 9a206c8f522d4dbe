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

/* Digit number `d` of a key, the least is 0; the sign comes last and the negative ones first. */
#define DIGIT(key, bits, d) ((((uint64_t)(key) ^ (1ULL << 63)) >> (bits) * (d)) & ((1ULL << (bits)) - 1))

enum { SHORT = 160, BYTES = 8 };

/* The rank of each is how many it beats: every pair is compared once, and nothing is foretold. */
static inline void q_order_short(int64_t *restrict place, int64_t *restrict room, int64_t n) {
    const int64_t *restrict key = room;
    int64_t *restrict rank = room + n;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = key[i], beaten = i;
        for (int64_t j = 0; j < i; j++) {
            int64_t less = k < key[j];
            rank[j] += less;
            beaten -= less;
        }
        rank[i] = beaten;
    }
    for (int64_t i = 0; i < n; i++) place[rank[i]] = i;
}

/* By bytes, the least first, each pass keeping the order of the one before (Knuth, volume 3, 5.2.5).
 * Bytes that are all the same are left out, and an even number of passes ends where it began. */
static void q_order_long(int64_t *place, int64_t *room, int64_t n) {
    int64_t *key = room, *other_key = room + n, *at = place, *other = room + 2 * n, *swapped;
    int64_t count[BYTES][256] = {{0}};
    int passes[BYTES], many = 0;
    for (int64_t i = 0; i < n; i++)
        for (int d = 0; d < BYTES; d++) count[d][DIGIT(key[i], 8, d)]++;
    for (int d = 0; d < BYTES; d++)
        if (count[d][DIGIT(key[0], 8, d)] < n) passes[many++] = d;
    if (many % 2) at = other, other = place;
    for (int64_t i = 0; i < n; i++) at[i] = i;
    for (int pass = 0; pass < many; pass++) {
        int d = passes[pass];
        int64_t before = 0;
        for (int digit = 0; digit < 256; digit++) {
            int64_t here = count[d][digit];
            count[d][digit] = before;
            before += here;
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t to = count[d][DIGIT(key[i], 8, d)]++;
            other_key[to] = key[i];
            other[to] = at[i];
        }
        swapped = key, key = other_key, other_key = swapped;
        swapped = at, at = other, other = swapped;
    }
}

/* The place of the k-th in order: by digits of four bits, greatest first, only those elements are
 * looked at again whose digit is that of the k-th. Linear, however the keys are spread. */
static int64_t q_kth(int64_t *room, int64_t n, int64_t k) {
    int64_t *key = room, *place = room + n;
    for (int64_t i = 0; i < n; i++) place[i] = i;
    for (int d = 15; d >= 0 && n > 1; d--) {
        int64_t count[16] = {0}, digit = 0, kept = 0;
        for (int64_t i = 0; i < n; i++) count[DIGIT(key[i], 4, d)]++;
        while (k >= count[digit]) k -= count[digit++];
        for (int64_t i = 0; i < n; i++) {
            int64_t same = DIGIT(key[i], 4, d) == (uint64_t)digit;
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
            (n < SHORT ? q_order_short : q_order_long)(place, room, n);                            \
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
