// Acting in a known environment: states and actions drawn one after the other.

#ifndef BILEVEL_CORE_STREAMING_SIMULATOR_H_
#define BILEVEL_CORE_STREAMING_SIMULATOR_H_

#include <cstdint>
#include <vector>

#include "core/base/rng.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class Simulator {
 public:
  // Copies what it needs of mdp. Cost: O(entries).
  explicit Simulator(const TabularMdp& mdp);

  int DrawStart(Rng& rng) const;

  // pi: [S*A].
  int DrawAction(const Vector& pi, int state, Rng& rng) const;

  // The next state, or kEnded. row = s*A + a, an available action.
  static constexpr int kEnded = -1;
  int DrawNext(int64_t row, Rng& rng) const;

 private:
  int num_actions_;
  std::vector<uint64_t> offsets_;  // [S*A + 1]
  std::vector<uint32_t> columns_;
  std::vector<double> cumulative_;  // within each row
  std::vector<double> starts_;      // cumulative
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SIMULATOR_H_
