#include "core/mdp/policy_matrix.h"

#include <algorithm>
#include <utility>

#include "core/base/fetch.h"

namespace bilevel {

PolicyMatrix::PolicyMatrix(const TabularMdp& mdp, ParallelFor parallel_for)
    : mdp_(&mdp), parallel_for_(std::move(parallel_for)), pattern_(mdp.SharePolicyPattern(parallel_for_)) {
  if (merged()) values_ = AlignedArray<double>(pattern_->pairs().num_places());
}

void PolicyMatrix::SetPolicy(const Vector& pi) {
  if (merged() && !pattern_->short_slots().empty()) {
    FillMerged(pi, pattern_->short_slots());
  } else if (merged()) {
    FillMerged(pi, pattern_->slots());
  } else {
    pi_ = pi;
  }
  transposed_is_old_ = true;
}

template <typename Slot>
void PolicyMatrix::FillMerged(const Vector& pi, const AlignedArray<Slot>& slots) {
  const ActionRows &rows = mdp_->transitions(), &pairs = pattern_->pairs();
  const bool sliced = pairs.layout() == ActionRows::Layout::kSlices;
  ForParts(parallel_for_, NumSlices(num_states()), kSlicesInPart, [&](int64_t first, int64_t last) {
    ForEachPlace(pairs, first, last, [&](uint64_t place, int64_t, int64_t) { values_[place] = 0; });
    rows.VisitValues([&](const auto* values) {
      ForEachPlace(rows, first, last, [&](uint64_t place, int64_t s, int64_t row) {
        const uint64_t slot = slots[place];
        const uint64_t target = sliced ? kLanes * (pairs.lines()[s / kLanes] + slot) + static_cast<uint64_t>(s % kLanes)
                                       : pairs.RowBegin(s) + slot;
        values_[target] += pi[row] * double{values[place]};
      });
    });
  });
}

const PolicyPattern::Transposed& PolicyMatrix::FillTransposed() const {
  const ActionRows& rows = merged() ? pattern_->pairs() : mdp_->transitions();
  const PolicyPattern::Transposed& transposed = pattern_->MakeTransposed(mdp_->transitions(), parallel_for_);
  if (!std::exchange(transposed_is_old_, false)) return transposed;
  if (transposed_values_.empty()) {
    transposed_values_ = AlignedArray<double>(transposed.rows.num_places());
    std::fill(transposed_values_.begin(), transposed_values_.end(), 0.0);
  }
  const bool far = rows.runs() == nullptr && IsFar<double>(static_cast<int64_t>(transposed.rows.num_places()));
  const uint64_t last_place = rows.num_places() - 1;
  ForParts(parallel_for_, NumSlices(num_states()), kSlicesInPart, [&](int64_t first, int64_t last) {
    ForEachPlace(rows, first, last, [&](uint64_t place, int64_t, int64_t row) {
      if (far) {
        const uint32_t soon = transposed.places[std::min(place + kFetchAhead, last_place)];
        if (soon != PolicyPattern::kNone) FetchToWrite(transposed_values_.data() + soon);
      }
      const uint32_t target = transposed.places[place];
      if (target == PolicyPattern::kNone) return;
      transposed_values_[target] = merged() ? values_[place] : pi_[row] * rows.value(place);
    });
  });
  return transposed;
}

}  // namespace bilevel
