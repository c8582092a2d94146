#include "core/mdp/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/rng.h"
#include "core/mdp/action_rows_builder.h"
#include "core/mdp/tabular_mdp.h"
#include "gtest/gtest.h"

namespace bilevel {
namespace {

// A random sparse matrix with a row for each state and action, and a soft backup on it.
struct Sample {
  int num_states, num_actions;
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  std::vector<double> values;
  std::vector<uint8_t> available;
  Vector reward, v;
  double discount = 0.9, temperature;

  Sample(int S, int A, bool ragged, bool masked, uint64_t seed, uint64_t longest = 5) : num_states(S), num_actions(A) {
    Rng rng(seed);
    for (int row = 0; row < S * A; ++row) {
      const int length = std::min(S, ragged ? static_cast<int>(rng.Below(longest + 1)) : 3);
      std::set<uint32_t> distinct;
      while (static_cast<int>(distinct.size()) < length) {
        distinct.insert(static_cast<uint32_t>(rng.Below(static_cast<uint64_t>(S))));
      }
      columns.insert(columns.end(), distinct.begin(), distinct.end());
      for (int k = 0; k < length; ++k) values.push_back(rng.Uniform());
      offsets.push_back(columns.size());
    }
    if (masked) {
      for (int row = 0; row < S * A; ++row) available.push_back(row % A == 0 || rng.Uniform() < 0.6 ? 1 : 0);
    }
    reward = Vector::NullaryExpr(Eigen::Index{S} * A, [&] { return rng.Normal(); });
    v = Vector::NullaryExpr(S, [&] { return 10 * rng.Normal(); });
    temperature = std::exp(-5 * rng.Uniform());
  }

  // Every action leads to neighbouring states.
  static Sample OfNeighbours(int S, int A, bool masked, uint64_t seed) {
    Sample sample(S, A, false, masked, seed);
    Rng rng(seed);
    sample.offsets = {0};
    sample.columns.clear();
    sample.values.clear();
    for (int row = 0; row < S * A; ++row) {
      for (int s2 = std::max(row / A - 1, 0); s2 <= std::min(row / A + 1, S - 1); ++s2) {
        sample.columns.push_back(static_cast<uint32_t>(s2));
        sample.values.push_back(rng.Uniform());
      }
      sample.offsets.push_back(sample.columns.size());
    }
    return sample;
  }

  ActionRows rows() const { return {num_states, num_actions, offsets, columns, values}; }

  ActionRows rows_in_floats() const {
    ActionRowsBuilder builder(num_states, num_actions);
    builder.AddOffsets(offsets);
    builder.TakePlaces(ActionRowsBuilder::Values::kFloats);
    builder.PutColumns(columns);
    ActionRowsBuilder::Cursor at;
    builder.Walk(
        at, std::span<const double>(values),
        [&](uint64_t place, uint64_t stride, std::span<const double> run) {
          for (size_t k = 0; k < run.size(); ++k) builder.floats()[place + k * stride] = static_cast<float>(run[k]);
          return true;
        },
        [&](const ActionRowsBuilder::Row& row) {
          builder.FillValues(row, builder.floats());
          return true;
        });
    return std::move(builder).Finish();
  }

  void RoundToFloats() {
    for (double& value : values) value = static_cast<float>(value);
  }
};

struct Result {
  Vector backup, q, pi, log_pi, product;
  StepRange range, range_of_value_only;
};

Result RunAll(const Sample& sample, const ActionRows& rows, InstructionSet set, int64_t cut) {
  const int S = sample.num_states, SA = S * sample.num_actions;
  Result r{Vector(S), Vector(SA), Vector(SA), Vector(SA), Vector(SA), {}, {}};
  Vector again(S);
  SoftSweep sweep{.rows = &rows,
                  .available = sample.available.empty() ? nullptr : sample.available.data(),
                  .reward = sample.reward.data(),
                  .value = sample.v.data(),
                  .discount = sample.discount,
                  .temperature = sample.temperature,
                  .backup = again.data()};
  r.range_of_value_only = RunSoftSweep(sweep, {0, NumSlices(S)}, set);
  sweep.backup = r.backup.data();
  sweep.q = r.q.data();
  sweep.pi = r.pi.data();
  sweep.log_pi = r.log_pi.data();
  r.range = RunSoftSweep(sweep, {0, cut}, set);
  MultiplyRows(rows, sample.v.data(), {0, cut}, r.product.data(), set);
  if (cut < NumSlices(S)) {
    r.range.Include(RunSoftSweep(sweep, {cut, NumSlices(S)}, set));
    MultiplyRows(rows, sample.v.data(), {cut, NumSlices(S)}, r.product.data(), set);
  }
  EXPECT_EQ(again, r.backup);
  EXPECT_EQ(r.range.smallest, r.range_of_value_only.smallest);
  EXPECT_EQ(r.range.largest, r.range_of_value_only.largest);
  return r;
}

// The backup by its definition, in long double.
void ExpectDefinition(const Sample& sample, const Result& result) {
  const int A = sample.num_actions;
  for (int s = 0; s < sample.num_states; ++s) {
    std::vector<long double> q(static_cast<size_t>(A));
    long double top = -std::numeric_limits<long double>::infinity(), total = 0;
    for (int a = 0; a < A; ++a) {
      const int row = s * A + a;
      long double sum = 0;
      for (uint64_t k = sample.offsets[row]; k < sample.offsets[row + 1]; ++k) {
        sum += static_cast<long double>(sample.values[k]) * sample.v[sample.columns[k]];
      }
      EXPECT_NEAR(result.product[row], static_cast<double>(sum), 1e-13);
      q[a] = sample.reward[row] + static_cast<long double>(sample.discount) * sum;
      if (sample.available.empty() || sample.available[row] != 0) top = std::max(top, q[a]);
    }
    for (int a = 0; a < A; ++a) {
      if (sample.available.empty() || sample.available[s * A + a] != 0) {
        total += std::exp((q[a] - top) / static_cast<long double>(sample.temperature));
      }
    }
    const long double value = top + sample.temperature * std::log(total);
    EXPECT_NEAR(result.backup[s], static_cast<double>(value), 1e-13);
    for (int a = 0; a < A; ++a) {
      const int row = s * A + a;
      const bool available = sample.available.empty() || sample.available[row] != 0;
      const long double log_pi = available ? (q[a] - value) / static_cast<long double>(sample.temperature) : 0;
      const double scale = 1e-13 * (1 + 100 / sample.temperature);
      EXPECT_NEAR(result.q[row], available ? static_cast<double>(q[a]) : 0, 1e-13);
      EXPECT_NEAR(result.log_pi[row], static_cast<double>(log_pi), scale);
      EXPECT_NEAR(result.pi[row], available ? static_cast<double>(std::exp(log_pi)) : 0, scale);
    }
  }
  const Vector step = result.backup - sample.v;
  EXPECT_EQ(result.range.smallest, step.minCoeff());
  EXPECT_EQ(result.range.largest, step.maxCoeff());
}

// The same bits at that.
void ExpectDefinitionOnEveryInstructionSet(const Sample& sample, const ActionRows& stored) {
  const int64_t slices = NumSlices(sample.num_states);
  const Result portable = RunAll(sample, stored, InstructionSet::kPortable, slices);
  ExpectDefinition(sample, portable);
  for (const InstructionSet set : kInstructionSets) {
    if (!Supports(set)) continue;
    const Result other = RunAll(sample, stored, set, (slices + 1) / 2);
    EXPECT_EQ(other.backup, portable.backup);
    EXPECT_EQ(other.q, portable.q);
    EXPECT_EQ(other.pi, portable.pi);
    EXPECT_EQ(other.log_pi, portable.log_pi);
    EXPECT_EQ(other.product, portable.product);
  }
}

TEST(RowKernels, FollowTheDefinitionInEveryLayoutAndGiveTheSameBitsOnEveryInstructionSet) {
  uint64_t seed = 1;
  int slices = 0, rows = 0, full = 0;
  for (const int S : {1, 7, 8, 9, 40, 61}) {
    for (const int A : {1, 4, 40}) {
      for (const bool ragged : {false, true}) {
        for (const bool masked : {false, true}) {
          SCOPED_TRACE(::testing::Message() << "S=" << S << " A=" << A << " ragged=" << ragged << " masked=" << masked);
          const Sample sample(S, A, ragged, masked, seed++);
          const ActionRows stored = sample.rows();
          slices += stored.layout() == ActionRows::Layout::kSlices;
          rows += stored.layout() == ActionRows::Layout::kRows;
          full += stored.layout() == ActionRows::Layout::kFull;
          ExpectDefinitionOnEveryInstructionSet(sample, stored);
        }
      }
    }
  }
  EXPECT_GT(slices, 5);
  EXPECT_GT(rows, 5);
  EXPECT_GT(full, 5);
}

// Lines whose columns follow each other are read without looking at each.
TEST(RowKernels, FollowTheDefinitionAlongRuns) {
  uint64_t seed = 100;
  for (const int S : {23, 24, 40, 61}) {
    for (const int A : {1, 3, 4, 5}) {
      for (const bool masked : {false, true}) {
        SCOPED_TRACE(::testing::Message() << "S=" << S << " A=" << A << " masked=" << masked);
        const Sample sample = Sample::OfNeighbours(S, A, masked, seed++);
        const ActionRows stored = sample.rows();
        ASSERT_NE(stored.runs(), nullptr);
        // In the middle all three lines are; of the first slice, whose first row is short, the one with its filling.
        for (uint32_t line = 0; line < 3; ++line) {
          EXPECT_EQ(stored.runs()[stored.lines()[A] + line], kLanes - 1 + line);
          EXPECT_EQ(stored.runs()[line], line < 2 ? ActionRows::kNoRun : 1);
        }
        ExpectDefinitionOnEveryInstructionSet(sample, stored);
      }
    }
  }
  EXPECT_EQ(Sample(64, 4, false, false, 1).rows().runs(), nullptr);
}

// Numbers that floats hold give the same bits as floats and as doubles.
void ExpectSameInFloats(Sample sample) {
  sample.RoundToFloats();
  const ActionRows doubles = sample.rows();
  ActionRows floats = sample.rows_in_floats();
  ASSERT_EQ(floats.layout(), doubles.layout());
  EXPECT_EQ(floats.in_floats(), floats.layout() != ActionRows::Layout::kFull);
  const int S = sample.num_states;
  const int64_t slices = NumSlices(S);
  const Vector pi = Vector::Random(doubles.num_rows());
  const Eigen::VectorXf v_floats = sample.v.cast<float>();
  for (const InstructionSet set : kInstructionSets) {
    if (!Supports(set)) continue;
    const Result expected = RunAll(sample, doubles, set, slices), result = RunAll(sample, floats, set, slices);
    EXPECT_EQ(result.backup, expected.backup);
    EXPECT_EQ(result.q, expected.q);
    EXPECT_EQ(result.pi, expected.pi);
    EXPECT_EQ(result.log_pi, expected.log_pi);
    EXPECT_EQ(result.product, expected.product);
    if (floats.layout() == ActionRows::Layout::kFull) continue;
    Vector product(S), expected_product(S);
    MultiplyPolicy(floats, pi.data(), sample.v.data(), {0, slices}, product.data(), set);
    MultiplyPolicy(doubles, pi.data(), sample.v.data(), {0, slices}, expected_product.data(), set);
    EXPECT_EQ(product, expected_product);
    Eigen::VectorXf narrow(S), expected_narrow(S);
    MultiplyPolicy(floats, pi.data(), v_floats.data(), {0, slices}, narrow.data(), set);
    MultiplyPolicy(doubles, pi.data(), v_floats.data(), {0, slices}, expected_narrow.data(), set);
    EXPECT_EQ(narrow, expected_narrow);
  }
  const double* const widened = floats.ToDoubles();
  EXPECT_FALSE(floats.in_floats());
  for (uint64_t place = 0; place < doubles.num_places(); ++place) EXPECT_EQ(widened[place], doubles.value(place));
}

TEST(RowKernels, GiveTheSameBitsFromFloatsInEveryLayout) {
  uint64_t seed = 200;
  int floats = 0;
  for (const int S : {1, 8, 9, 61}) {
    for (const int A : {1, 4, 40}) {
      for (const bool ragged : {false, true}) {
        SCOPED_TRACE(::testing::Message() << "S=" << S << " A=" << A << " ragged=" << ragged);
        const Sample sample(S, A, ragged, true, seed++);
        floats += sample.rows_in_floats().in_floats() ? 1 : 0;
        ExpectSameInFloats(sample);
      }
      ExpectSameInFloats(Sample::OfNeighbours(S, A, false, seed++));
    }
  }
  EXPECT_GT(floats, 10);
}

TEST(RowKernels, MixAndPushFullRowsByTheirWeights) {
  for (const int S : {6, 8, 13}) {
    for (int A = 1; A <= 13; ++A) {
      SCOPED_TRACE(::testing::Message() << "S=" << S << " A=" << A);
      const Sample sample(S, A, true, false, 7, static_cast<uint64_t>(S));
      const ActionRows rows = sample.rows();
      ASSERT_EQ(rows.layout(), ActionRows::Layout::kFull);
      const Vector weight = Vector::Random(rows.num_rows());
      Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(S, S), mixed(S, S);
      for (int64_t row = 0; row < rows.num_rows(); ++row) {
        for (uint64_t k = sample.offsets[row]; k < sample.offsets[row + 1]; ++k) {
          expected(row / A, sample.columns[k]) += weight[row] * sample.values[k];
        }
      }
      Vector pushed(S), portable(S);
      PushFullRows(rows, weight.data(), portable.data(), InstructionSet::kPortable);
      EXPECT_LT((portable - expected.colwise().sum().transpose()).lpNorm<Eigen::Infinity>(), 1e-13);
      for (const InstructionSet set : kInstructionSets) {
        if (!Supports(set)) continue;
        MixFullRows(rows, weight.data(), mixed.data(), set);
        EXPECT_EQ(mixed, expected);
        PushFullRows(rows, weight.data(), pushed.data(), set);
        EXPECT_EQ(pushed, portable);
      }
    }
  }
}

TEST(RowKernels, SayThatAStepIsNotFinite) {
  Sample sample(20, 3, false, false, 5);
  const ActionRows rows = sample.rows();
  sample.v[13] = std::numeric_limits<double>::infinity();
  for (const InstructionSet set : kInstructionSets) {
    if (!Supports(set)) continue;
    Vector backup(20);
    const SoftSweep sweep{.rows = &rows,
                          .reward = sample.reward.data(),
                          .value = sample.v.data(),
                          .discount = 0.9,
                          .backup = backup.data()};
    EXPECT_TRUE(std::isnan(RunSoftSweep(sweep, {0, 3}, set).Size()));
  }
}

TEST(ActionRows, KnowTheirEntriesInTheCallersOrder) {
  for (const bool ragged : {false, true}) {
    const Sample sample(61, 4, ragged, false, 3);
    const ActionRows rows = sample.rows();
    ASSERT_EQ(rows.num_entries(), sample.columns.size());
    uint64_t next = 0;
    for (int64_t row = 0; row < rows.num_rows(); ++row) {
      rows.ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
        EXPECT_EQ(entry, next++);
        EXPECT_EQ(rows.column(place), sample.columns[entry]);
        EXPECT_EQ(rows.value(place), sample.values[entry]);
      });
    }
    EXPECT_EQ(next, sample.columns.size());
    EXPECT_LE(static_cast<double>(rows.num_places()), 1.25 * static_cast<double>(next));
  }
}

TEST(ActionRows, KnowTheEntriesOfFullSlices) {
  const Sample sample(11, 4, true, false, 3, 11);
  ActionRows rows = sample.rows();
  ASSERT_EQ(rows.layout(), ActionRows::Layout::kFull);
  EXPECT_LE(static_cast<double>(rows.num_places()), 4 * static_cast<double>(rows.num_entries()));
  uint64_t next = 0;
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
      EXPECT_EQ(entry, next++);
      EXPECT_EQ(rows.column(place), sample.columns[entry]);
      EXPECT_EQ(rows.value(place), sample.values[entry]);
    });
  }
  EXPECT_EQ(next, sample.columns.size());
}

}  // namespace
}  // namespace bilevel
