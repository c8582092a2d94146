#include "core/mdp/banded_lu.h"

#include <algorithm>

namespace bilevel {

BandedLu::BandedLu(Eigen::Index size, Eigen::Index bandwidth)
    : rows_(Eigen::MatrixXd::Zero(2 * bandwidth + 1, size)), width_(bandwidth) {}

bool BandedLu::Factorize() {
  const Eigen::Index n = rows_.cols();
  for (Eigen::Index k = 0; k < n; ++k) {
    const double pivot = rows_(width_, k);
    if (!(pivot > 0)) return false;
    const Eigen::Index reach = std::min(width_, n - 1 - k);
    for (Eigen::Index i = k + 1; i <= k + reach; ++i) {
      double& entry = (*this)(i, k);
      if (entry == 0) continue;
      entry /= pivot;
      rows_.col(i).segment(width_ + 1 - (i - k), reach) -= entry * rows_.col(k).segment(width_ + 1, reach);
    }
  }
  return true;
}

Vector BandedLu::Solve(Vector b) const {
  const Eigen::Index n = rows_.cols();
  for (Eigen::Index i = 1; i < n; ++i) {
    const Eigen::Index reach = std::min(width_, i);
    b[i] -= rows_.col(i).segment(width_ - reach, reach).dot(b.segment(i - reach, reach));
  }
  for (Eigen::Index i = n - 1; i >= 0; --i) {
    const Eigen::Index reach = std::min(width_, n - 1 - i);
    b[i] = (b[i] - rows_.col(i).segment(width_ + 1, reach).dot(b.segment(i + 1, reach))) / rows_(width_, i);
  }
  return b;
}

Vector BandedLu::SolveTransposed(Vector b) const {
  const Eigen::Index n = rows_.cols();
  for (Eigen::Index i = 0; i < n; ++i) {
    const Eigen::Index reach = std::min(width_, n - 1 - i);
    b[i] /= rows_(width_, i);
    b.segment(i + 1, reach) -= b[i] * rows_.col(i).segment(width_ + 1, reach);
  }
  for (Eigen::Index i = n - 1; i > 0; --i) {
    const Eigen::Index reach = std::min(width_, i);
    b.segment(i - reach, reach) -= b[i] * rows_.col(i).segment(width_ - reach, reach);
  }
  return b;
}

}  // namespace bilevel
