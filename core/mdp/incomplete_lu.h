// Incomplete LU without fill-in, ILU(0): a preconditioner.
//
// I - gamma P^pi is a row diagonally dominant M-matrix, for which the factorisation exists in every order and is stable
// (Meijerink, van der Vorst 1977). States are cut into consecutive blocks that depend on S alone; what couples blocks
// is left out. A solve takes eight states at a time, in the lanes of a vector. On grids, queues and the like these are
// states of one level: coupled with each other neither directly nor by states before them, as on the diagonals of a
// grid. Where levels are narrow, as on chains, eight blocks go side by side instead, state by state; else states go one
// by one. Factors are kept in single precision: what a solve with them costs is what it reads, and they are approximate
// anyway.

#ifndef BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
#define BILEVEL_CORE_MDP_INCOMPLETE_LU_H_

#include <cstdint>
#include <vector>

#include "core/base/parallel.h"
#include "core/mdp/sparse_square.h"

namespace bilevel {

class IncompleteLu {
 public:
  // How states go side by side.
  enum class Order { kLevels, kBlocks, kAlone };

  // At most kMostEntries. first: the order to try first; multigrid, where a solve's cost counts for more than what
  // blocks leave out, does better with kBlocks. Memory: 4 bytes for each entry, 8 where the neighbours of states side
  // by side are not, and 9 for each state (12 where states go one by one). Cost: about that of fifty products.
  static constexpr uint64_t kMostEntries = uint64_t{1} << 30;
  IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for, Order first = Order::kLevels);
  IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for, Order first = Order::kLevels);

  // Factorises another matrix with entries at the same places. Cost: about that of fifteen products.
  void Renew(const SystemRows& A);

  const ParallelFor& parallel_for() const { return parallel_for_; }
  Order order() const { return order_; }
  // Of the blocks, and the number of states.
  const std::vector<int64_t>& first_states() const { return blocks_; }

  // x <- M^{-1} b and M^{-T} b, in doubles or floats; x may be b. Cost: about that of a product.
  template <typename Real>
  void Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const;
  template <typename Real>
  void SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const;

 private:
  static constexpr uint32_t kApart = uint32_t{1} << 31;
  static constexpr int kWide = 8;

  // Slots are places in the order of a solve; as many as go side by side make a slice. The entries of a slice's states,
  // in lines of one for each lane.
  struct Triangle {
    std::vector<uint32_t> offsets;  // first line of each slice
    // Of each line: the first lane's column, a slot, if those of the others follow it; else kApart and where its
    // columns begin. A lane that has no entry there has a 0.
    std::vector<uint32_t> starts;
    std::vector<uint32_t> columns;
    std::vector<float> values;
  };
  // What one thread solves: A ~ L D U with ones on the diagonals of L and U.
  struct Group {
    // Of each slot; of one without a state that of its slice's first. Empty where slots are the states in order.
    std::vector<uint32_t> states;
    int64_t num_slots = 0;
    std::vector<uint32_t> runs;  // first slices of those that are not coupled with each other, and the number of slices
    Triangle lower, upper;
    std::vector<float> inverse_pivots;  // of each slot
  };

  int64_t num_groups() const { return static_cast<int64_t>(groups_.size()); }
  int64_t blocks_in_group() const { return order_ == Order::kBlocks ? kWide : 1; }
  int width() const { return order_ == Order::kAlone ? 1 : kWide; }
  int64_t FirstState(int64_t group) const { return blocks_[static_cast<size_t>(group * blocks_in_group())]; }
  int64_t LastState(int64_t group) const { return FirstState(group + 1); }
  // The block of a lane's states.
  int64_t BlockOf(int64_t group, int64_t lane) const {
    return group * blocks_in_group() + (order_ == Order::kBlocks ? lane : 0);
  }

  template <typename Rows>
  void Build(const Rows& A, Order first);
  // Sets all but the numbers; returns the share of places that hold an entry, or 0 where it is soon seen to be small.
  template <typename Rows>
  double LayOut(const Rows& A, Order order, int64_t num_groups);
  void EachSliceARun(Group& group) const;
  // Sets the slots of a group; false where most would be empty.
  template <typename Rows>
  bool FindSlots(const Rows& A, int64_t number);
  template <typename Rows>
  std::vector<uint32_t> FindLevels(const Rows& A, int64_t number) const;
  // The slot of each state.
  std::vector<uint32_t> SlotsOfStates(int64_t number) const;
  // Sets the lines of a group and counts its entries; false where most places would be empty.
  template <typename Rows>
  bool FindLines(const Rows& A, int64_t number, uint64_t& entries);
  // Adds the lines of a slice; columns: of each lane.
  static void AddLines(const std::vector<std::vector<uint32_t>>& columns, Triangle& triangle);
  template <typename Rows>
  void Factorize(const Rows& A);
  template <typename Rows>
  void FactorizeGroup(const Rows& A, int64_t number);
  template <int kWidth, bool kTransposed, typename Real>
  void SolveGroups(const VectorOf<Real>& b, VectorOf<Real>& x) const;

  ParallelFor parallel_for_;
  Order order_ = Order::kAlone;
  std::vector<int64_t> blocks_;  // first states, and S
  std::vector<Group> groups_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
