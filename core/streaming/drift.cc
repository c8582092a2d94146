#include "core/streaming/drift.h"

#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel {

absl::Status DriftOptions::Validate() const {
  constexpr uint64_t kLeast = 100, kMost = 10'000'000;
  if (window < kLeast || window > kMost) {
    return FieldError("window", absl::StrCat("is ", window, "; must be in [", kLeast, ", ", kMost, "]"));
  }
  if (!(significance > 0) || significance > 0.5) {
    return FieldError("significance", absl::StrCat("is ", ToText(significance), "; must be in (0, 0.5]"));
  }
  return absl::OkStatus();
}

void DriftLog::Add(const Drift& drift) {
  ++total;
  last.push_back(drift);
  if (last.size() > kHeld) last.pop_front();
}

double SpentInWindow(double significance, uint64_t k) {
  constexpr double kSixOverPiSquared = 0.60792710185402662866;
  return significance * kSixOverPiSquared / (static_cast<double>(k) * static_cast<double>(k));
}

}  // namespace bilevel
