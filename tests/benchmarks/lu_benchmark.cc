// LU of I - gamma P for random P within a band: ours, without pivoting and within the band, beside Eigen's dense LU
// with partial pivoting of the same matrix, in the same run.
//
//   lu_benchmark

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Eigen/LU"
#include "core/base/rng.h"
#include "core/mdp/block_lu.h"

namespace bilevel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kGamma = 0.99;

double Microseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

Eigen::MatrixXd DrawSystem(Rng& rng, int size, int bandwidth) {
  Eigen::MatrixXd A = Eigen::MatrixXd::Identity(size, size);
  for (int i = 0; i < size; ++i) {
    Vector row = Vector::Zero(size);
    for (int j = std::max(0, i - bandwidth); j <= std::min(size - 1, i + bandwidth); ++j) row[j] = rng.Uniform();
    A.row(i) -= kGamma / row.sum() * row.transpose();
  }
  return A;
}

void Measure(int size, double share) {
  const int bandwidth = static_cast<int>(share * size);
  Rng rng(1);
  const Eigen::MatrixXd A = DrawSystem(rng, size, bandwidth);
  const Vector b = Vector::Ones(size);
  std::vector<double> block, block_solve, dense, dense_solve;
  for (int round = 0; round < std::clamp(20000 / size, 5, 201); ++round) {
    BlockLu ours(size, bandwidth);
    for (int i = 0; i < size; ++i) {
      for (int j = std::max(0, i - bandwidth); j <= std::min(size - 1, i + bandwidth); ++j) ours(i, j) = A(i, j);
    }
    auto begin = Clock::now();
    if (!ours.Factorize()) std::exit(1);
    block.push_back(Microseconds(begin));
    begin = Clock::now();
    const Vector x = ours.Solve(b);
    block_solve.push_back(Microseconds(begin));
    begin = Clock::now();
    const Eigen::PartialPivLU<Eigen::MatrixXd> theirs(A);
    dense.push_back(Microseconds(begin));
    begin = Clock::now();
    const Vector y = theirs.solve(b);
    dense_solve.push_back(Microseconds(begin));
    if ((x - y).norm() > 1e-9 * y.norm()) std::exit(1);
  }
  std::printf("%6d %9d %12.1f %12.1f %8.2f %14.2f %14.2f %8.2f\n", size, bandwidth, Median(block), Median(dense),
              Median(block) / Median(dense), Median(block_solve), Median(dense_solve),
              Median(block_solve) / Median(dense_solve));
}

}  // namespace
}  // namespace bilevel

int main() {
  std::printf("%6s %9s %12s %12s %8s %14s %14s %8s\n", "size", "bandwidth", "block us", "dense us", "ratio",
              "block solve", "dense solve", "ratio");
  for (const int size : {10, 30, 104, 300, 1000, 2000}) {
    for (const double share : {0.05, 0.13, 0.25, 0.5, 1.0}) bilevel::Measure(size, share);
  }
}
