// How long to wait before the next attempt: delays double from `initial` to `max`, each times U(1/2, 1), so that
// clients that lost the same server do not come back at the same moment.

#ifndef BILEVEL_CLIENT_BACKOFF_H_
#define BILEVEL_CLIENT_BACKOFF_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace bilevel::client {

class Backoff {
 public:
  using Delay = std::chrono::duration<double>;

  // 0 < initial <= max.
  Backoff(Delay initial, Delay max, std::uint64_t seed) : initial_(initial), max_(max), next_(initial), random_(seed) {}

  Delay Next() {
    constexpr double kTwo64 = 18446744073709551616.0;
    const double share = 0.5 + 0.5 * (static_cast<double>(random_()) / kTwo64);
    const Delay delay = next_ * share;
    next_ = std::min(max_, next_ * 2.0);
    return delay;
  }

  // After a success.
  void Reset() { next_ = initial_; }

 private:
  Delay initial_;
  Delay max_;
  Delay next_;
  std::mt19937_64 random_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_BACKOFF_H_
