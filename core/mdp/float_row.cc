#include "core/mdp/float_row.h"

#include <cmath>

namespace bilevel {
namespace {

// Of an entry, what it may be moved by beyond its own rounding.
constexpr double kMostMoved = 0x1p-20;
// A row's sum is off by no more where it has been added up.
constexpr double kExact = 0x1p-50;

double SumOf(const FloatRow& row) {
  double sum = 0;
  for (uint64_t k = 0; k < row.count; ++k) sum += double{row[k]};
  return sum;
}

// Moves the largest entry that takes some of `rest`, and takes that off it; whether there was one. Of entries of one
// binary order there is then none left that would.
bool MoveLargest(const FloatRow& row, double& rest) {
  float* best = nullptr;
  float moved = 0;
  for (uint64_t k = 0; k < row.count; ++k) {
    float& entry = row[k];
    if (best != nullptr && entry <= *best) continue;
    const auto next = static_cast<float>(double{entry} + rest);
    const double change = double{next} - double{entry};
    if (!(std::abs(rest - change) < std::abs(rest)) || std::abs(change) > kMostMoved * double{entry} || next > 1) {
      continue;
    }
    best = &entry;
    moved = next;
  }
  if (best == nullptr) return false;
  rest -= double{moved} - double{*best};
  *best = moved;
  return true;
}

// Makes the sum smaller by the smallest step that is at least `excess`.
void LowerOne(const FloatRow& row, double excess) {
  float* best = nullptr;
  for (uint64_t k = 0; k < row.count; ++k) {
    float& entry = row[k];
    const double step = double{entry} - double{std::nextafter(entry, 0.0F)};
    if (step >= excess && (best == nullptr || entry < *best)) best = &entry;
  }
  if (best != nullptr) *best = std::nextafter(*best, 0.0F);
}

}  // namespace

double Renormalize(const FloatRow& row, double total) {
  const double sum = SumOf(row);
  if (sum == 0) return 0;
  const double factor = total / sum;
  // What rounding takes from an entry the next one gets.
  double carry = 0;
  for (uint64_t k = 0; k < row.count; ++k) {
    const double exact = double{row[k]} * factor;
    const bool takes = std::abs(carry) <= kMostMoved * exact;
    row[k] = static_cast<float>(takes ? exact + carry : exact);
    carry += exact - double{row[k]};
  }
  double rest = total - SumOf(row);
  while (std::abs(rest) > kExact && MoveLargest(row, rest)) {
  }
  if (rest < -kExact) LowerOne(row, -rest);
  return SumOf(row);
}

}  // namespace bilevel
