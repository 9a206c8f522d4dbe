/* What the loops of an emitted function ask of the compiler. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif
/* A loop in a function of its own: it keeps its registers to itself. */
#if defined(__GNUC__)
#define STAGE static __attribute__((noinline)) void
#else
#define STAGE static void
#endif
/* A truth value in memory. */
typedef __typeof__(_Generic((real)0, float: (int32_t)0, default: (int64_t)0)) mask;
/* What follows a sum, a sign say, must not be drawn into its loop: gcc then gives up vectors. */
#if defined(__GNUC__)
#define SETTLED(x) __asm__("" : "+r"(x));
#else
#define SETTLED(x)
#endif
