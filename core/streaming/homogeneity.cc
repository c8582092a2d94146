#include "core/streaming/homogeneity.h"

#include <algorithm>
#include <cmath>

#include "core/base/chi_square.h"

namespace bilevel {
namespace {

constexpr double kLeastExpected = 5;
constexpr double kLeastVariance = 5;

double Both(const PairedCount& count) { return count.before + count.now; }

PairedCount Sum(std::span<const PairedCount> kinds) {
  PairedCount sum;
  for (const PairedCount& kind : kinds) {
    sum.before += kind.before;
    sum.now += kind.now;
  }
  return sum;
}

// share: of the smaller sample in both.
void Pool(std::span<const PairedCount> kinds, double share, std::vector<PairedCount>& pooled) {
  pooled.clear();
  PairedCount open;
  for (const PairedCount& kind : kinds) {
    if (Both(kind) * share >= kLeastExpected) {
      pooled.push_back(kind);
      continue;
    }
    open = {open.before + kind.before, open.now + kind.now};
    if (Both(open) * share < kLeastExpected) continue;
    pooled.push_back(open);
    open = {};
  }
  if (pooled.empty() || Both(open) == 0) return;
  const auto rarest = std::min_element(pooled.begin(), pooled.end(),
                                       [](const PairedCount& a, const PairedCount& b) { return Both(a) < Both(b); });
  *rarest = {rarest->before + open.before, rarest->now + open.now};
}

double Ratio(double count, double expected) { return count > 0 ? 2 * count * std::log(count / expected) : 0; }

}  // namespace

void Homogeneity::Add(std::span<const PairedCount> kinds) {
  const PairedCount n = Sum(kinds);
  if (n.before == 0 || n.now == 0) return;
  const double N = Both(n);
  Pool(kinds, std::min(n.before, n.now) / N, pooled_);
  if (pooled_.size() < 2) {
    const auto likeliest = std::max_element(
        kinds.begin(), kinds.end(), [](const PairedCount& a, const PairedCount& b) { return Both(a) < Both(b); });
    const double c = Both(*likeliest);
    thin_surplus_ += likeliest->now - n.now * c / N;
    thin_variance_ += n.before * n.now * c * (N - c) / (N * N * (N - 1));
    return;
  }
  double pearson = 0, ratio = 0, inverse = 0;
  for (const PairedCount& kind : pooled_) {
    const double c = Both(kind), now = n.now * c / N, before = n.before * c / N;
    pearson += (kind.now - now) * (kind.now - now) * (1 / now + 1 / before);
    ratio += Ratio(kind.now, now) + Ratio(kind.before, before);
    inverse += N / c;
  }
  const auto degrees = static_cast<int64_t>(pooled_.size()) - 1;
  // Williams' factor of a table of two rows.
  const double factor = 1 + (N / n.before + N / n.now - 1) * (inverse - 1) / (6 * N * static_cast<double>(degrees));
  pearson_ += pearson * (N - 1) / N;
  ratio_ += ratio / factor;
  degrees_ += degrees;
}

Homogeneity::Result Homogeneity::Find() const {
  Result result{pearson_, degrees_, 1};
  double ratio = ratio_;
  if (thin_variance_ >= kLeastVariance) {
    const double surplus = std::max(0.0, std::abs(thin_surplus_) - 0.5);
    result.statistic += surplus * surplus / thin_variance_;
    ratio += surplus * surplus / thin_variance_;
    ++result.degrees;
  }
  if (result.degrees == 0) return result;
  result.p_value = std::max(ChiSquareTail(result.statistic, result.degrees), ChiSquareTail(ratio, result.degrees));
  return result;
}

}  // namespace bilevel
