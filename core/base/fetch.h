// Memory fetched ahead of where it is read or written.
//
// What is scattered goes to the second level of cache: processors wait for more of such fetches at a time than for
// loads. On vectors that are near anyway it costs a fifth of a loop, hence IsFar.

#ifndef BILEVEL_CORE_BASE_FETCH_H_
#define BILEVEL_CORE_BASE_FETCH_H_

#include <cstdint>

namespace bilevel {

// So many entries ahead; so many states, where that is easier to say.
inline constexpr uint64_t kFetchAhead = 256;
inline constexpr int64_t kFetchStatesAhead = 16;

// Whether a vector of so many T is more than a second cache surely holds beside what streams through it.
template <typename T>
constexpr bool IsFar(int64_t size) {
  return size * static_cast<int64_t>(sizeof(T)) > (1 << 19);
}

// GCC leaves out calls of functions that do nothing but fetch: hence the empty statement.
template <typename T>
inline void FetchToRead(const T* place) {
  __builtin_prefetch(place, 0, 2);
  asm volatile("");
}

// To the first level: what is read in order. Processors see that for themselves, but do not look as far ahead. It
// costs next to nothing where all is near.
template <typename T>
inline void FetchInOrder(const T* place) {
  __builtin_prefetch(place, 0, 3);
  asm volatile("");
}

template <typename T>
inline void FetchToWrite(const T* place) {
  __builtin_prefetch(place, 1, 2);
  asm volatile("");
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_FETCH_H_
