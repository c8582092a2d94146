// Numbers below the smallest normal one become 0 in this thread for as long as it lives, where Real is float.
//
// Vectors in single precision reach them, what is far from where anything happens being small, and processors take a
// hundred times as long over one. Nothing where the processor has no such mode: results then differ by less than that
// smallest number, 1.2e-38.

#ifndef BILEVEL_CORE_BASE_FLUSH_TINY_H_
#define BILEVEL_CORE_BASE_FLUSH_TINY_H_

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace bilevel {

template <typename Real>
class FlushTiny {
 public:
  FlushTiny() {}  // not trivial: it is used by being there
};

#ifdef __SSE2__
template <>
class FlushTiny<float> {
 public:
  FlushTiny() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushTiny() { _mm_setcsr(before_); }
  FlushTiny(const FlushTiny&) = delete;
  FlushTiny& operator=(const FlushTiny&) = delete;

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;

  unsigned before_;
};
#endif

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_FLUSH_TINY_H_
