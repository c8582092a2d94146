// What comes in pieces is what comes at once.

#include "core/mdp/tabular_mdp_builder.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/base/rng.h"
#include "core/mdp/row_kernels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

enum class Array { kOffsets, kTermination, kInitial, kAvailable, kColumns, kProbabilities };

TabularMdpSizes SizesOf(const TabularMdpSpec& spec) {
  return {.num_states = spec.num_states,
          .num_actions = spec.num_actions,
          .num_entries = spec.columns.size(),
          .has_termination_probability = spec.termination_probability.size() != 0,
          .has_initial_distribution = spec.initial_distribution.size() != 0,
          .has_available_actions = !spec.available_actions.empty(),
          .single_precision = spec.single_precision};
}

// One array in two pieces, cut there; or, where that is not it, all in pieces of one.
struct Cut {
  Array array = Array::kOffsets;
  size_t place = 0;
  bool ones = false;
};

template <typename T, typename Add>
absl::Status AddAll(Array array, std::span<const T> all, const Cut& cut, Add add) {
  if (cut.ones) {
    for (size_t k = 0; k < all.size(); ++k) {
      if (absl::Status status = add(all.subspan(k, 1)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  const size_t place = cut.array == array ? std::min(cut.place, all.size()) : 0;
  if (absl::Status status = add(all.first(place)); !status.ok()) return status;
  return add(all.subspan(place));
}

absl::StatusOr<TabularMdp> BuildCut(const TabularMdpSpec& spec, const Cut& cut) {
  absl::StatusOr<TabularMdpBuilder> start = TabularMdpBuilder::Start(SizesOf(spec));
  if (!start.ok()) return start.status();
  TabularMdpBuilder& builder = *start;
  const std::vector<float> singles(spec.probabilities.begin(), spec.probabilities.end());
  const auto reals = [](const Vector& v) { return std::span<const double>(v.data(), static_cast<size_t>(v.size())); };
  absl::Status status = AddAll<uint64_t>(Array::kOffsets, spec.offsets, cut,
                                         [&](std::span<const uint64_t> piece) { return builder.AddOffsets(piece); });
  if (status.ok()) {
    status = AddAll<double>(Array::kTermination, reals(spec.termination_probability), cut,
                            [&](std::span<const double> piece) { return builder.AddTerminationProbability(piece); });
  }
  if (status.ok()) {
    status = AddAll<double>(Array::kInitial, reals(spec.initial_distribution), cut,
                            [&](std::span<const double> piece) { return builder.AddInitialDistribution(piece); });
  }
  if (status.ok()) {
    status = AddAll<uint8_t>(Array::kAvailable, spec.available_actions, cut,
                             [&](std::span<const uint8_t> piece) { return builder.AddAvailableActions(piece); });
  }
  if (status.ok()) {
    status = AddAll<uint32_t>(Array::kColumns, spec.columns, cut,
                              [&](std::span<const uint32_t> piece) { return builder.AddColumns(piece); });
  }
  if (status.ok() && spec.single_precision) {
    status = AddAll<float>(Array::kProbabilities, singles, cut,
                           [&](std::span<const float> piece) { return builder.AddProbabilities(piece); });
  } else if (status.ok()) {
    status = AddAll<double>(Array::kProbabilities, spec.probabilities, cut,
                            [&](std::span<const double> piece) { return builder.AddProbabilities(piece); });
  }
  if (!status.ok()) return status;
  EXPECT_LE(builder.FinalBytes(), builder.Bytes());
  EXPECT_LE(builder.Bytes(), TabularMdpBuilder::MostBytes(SizesOf(spec)));
  return std::move(builder).Finish();
}

Vector Sweep(const TabularMdp& mdp) {
  Vector reward(mdp.num_rows()), value(mdp.num_states()), backup(mdp.num_states());
  Rng rng(7);
  for (double& r : reward) r = rng.Normal();
  for (double& v : value) v = rng.Normal();
  const SoftSweep sweep{.rows = &mdp.transitions(),
                        .available = mdp.available_actions(),
                        .reward = reward.data(),
                        .value = value.data(),
                        .discount = 0.9,
                        .temperature = 0.1,
                        .backup = backup.data()};
  RunSoftSweep(sweep, {0, NumSlices(mdp.num_states())});
  return backup;
}

void ExpectSame(const TabularMdp& a, const TabularMdp& b) {
  const ActionRows &x = a.transitions(), &y = b.transitions();
  ASSERT_EQ(x.layout(), y.layout());
  ASSERT_EQ(x.num_places(), y.num_places());
  ASSERT_EQ(x.num_entries(), y.num_entries());
  for (uint64_t place = 0; place < x.num_places(); ++place) {
    ASSERT_EQ(x.column(place), y.column(place)) << "at " << place;
    ASSERT_EQ(x.value(place), y.value(place)) << "at " << place;
  }
  for (int64_t row = 0; row < x.num_rows(); ++row) {
    const int64_t s = row / x.num_actions(), action = row % x.num_actions();
    ASSERT_EQ(x.FirstPlace(s, action), y.FirstPlace(s, action));
    ASSERT_EQ(a.available(row), b.available(row));
  }
  EXPECT_EQ(a.all_available(), b.all_available());
  EXPECT_EQ(a.min_row_sum(), b.min_row_sum());
  EXPECT_EQ(a.max_row_sum(), b.max_row_sum());
  EXPECT_EQ(a.max_row_entries(), b.max_row_entries());
  EXPECT_EQ(a.initial_distribution(), b.initial_distribution());
  EXPECT_EQ(Sweep(a), Sweep(b));
}

// By the rules, from the arrays.
void ExpectSpec(const TabularMdpSpec& spec, const TabularMdp& mdp) {
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    const uint64_t begin = spec.offsets[row], end = spec.offsets[row + 1];
    const bool available = spec.available_actions.empty() || spec.available_actions[row] != 0;
    const double ending = spec.termination_probability.size() == 0 ? 0 : spec.termination_probability[row];
    double sum = 0;
    for (uint64_t k = begin; k < end; ++k) sum += spec.probabilities[k];
    double total = 0;
    uint64_t visited = begin;
    mdp.transitions().ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
      EXPECT_EQ(entry, visited++);
      EXPECT_EQ(mdp.transitions().column(place), spec.columns[entry]);
      const double held = mdp.transitions().value(place);
      total += held;
      if (!available || !spec.single_precision) {
        EXPECT_EQ(held, available ? spec.probabilities[entry] : 0) << "row " << row;
      } else {
        const double p = spec.probabilities[entry] * ((1 - ending) / sum);
        EXPECT_NEAR(held, p, 0x1p-20 * p) << "row " << row;
        EXPECT_EQ(held, double{static_cast<float>(held)});
      }
    });
    if (available && spec.single_precision && begin != end) {
      EXPECT_EQ(total + ending, 1) << "row " << row;
    }
    EXPECT_EQ(visited, end);
  }
}

// Rows of equal length or of any, ones that nothing follows too.
TabularMdpSpec Draw(uint64_t seed, int S, bool ragged, bool masks, bool termination, bool single) {
  Rng rng(seed);
  const int A = 3;
  TabularMdpSpec spec;
  spec.num_states = S;
  spec.num_actions = A;
  spec.single_precision = single;
  spec.offsets = {0};
  if (termination) spec.termination_probability = Vector::Zero(Eigen::Index{S} * A);
  for (int row = 0; row < S * A; ++row) {
    const bool ends = ragged && termination && rng.Below(5) == 0;
    // Of so few digits that rows of floats can leave it.
    const double ending = !termination ? 0 : ends ? 1 : static_cast<double>(rng.Below(64)) / 128;
    if (termination) spec.termination_probability[row] = ending;
    uint64_t length = ragged ? 1 + rng.Below(static_cast<uint64_t>(S)) : static_cast<uint64_t>(std::min(3, S));
    if (ends) length = 0;
    const size_t first = spec.columns.size();
    double sum = 0;
    // Columns are drawn in order, each so that enough are left.
    for (int column = 0; spec.columns.size() - first < length; ++column) {
      if (rng.Below(static_cast<uint64_t>(S - column)) >= length - (spec.columns.size() - first)) continue;
      spec.columns.push_back(static_cast<uint32_t>(column));
      spec.probabilities.push_back(0.1 + rng.Uniform());
      sum += spec.probabilities.back();
    }
    for (size_t k = first; k < spec.columns.size(); ++k) {
      spec.probabilities[k] *= (1 - ending) / sum;
      if (single) spec.probabilities[k] = static_cast<float>(spec.probabilities[k]);
    }
    spec.offsets.push_back(spec.columns.size());
    if (masks) spec.available_actions.push_back(row % A == 1 || rng.Below(2) == 0 ? 1 : 0);
  }
  if (seed % 2 == 0) spec.initial_distribution = Vector::Unit(S, S / 2);
  return spec;
}

TEST(TabularMdpBuilder, GivesTheSameBitsHoweverArraysAreCut) {
  int slices = 0, rows = 0, seed = 0;
  for (const int S : {1, 7, 8, 9, 20}) {
    for (const bool ragged : {false, true}) {
      for (const bool masks : {false, true}) {
        for (const bool single : {false, true}) {
          const bool termination = seed / 2 % 2 == 0;
          SCOPED_TRACE(::testing::Message() << "S " << S << " seed " << seed << " single " << single);
          const TabularMdpSpec spec = Draw(static_cast<uint64_t>(seed++), S, ragged, masks, termination, single);
          const TabularMdp whole = TabularMdp::Create(spec).value();
          (whole.transitions().layout() == ActionRows::Layout::kSlices ? slices : rows) += 1;
          ExpectSpec(spec, whole);
          ExpectSame(whole, BuildCut(spec, {.ones = true}).value());
          const std::pair<Array, size_t> arrays[] = {{Array::kOffsets, spec.offsets.size()},
                                                     {Array::kTermination, spec.termination_probability.size()},
                                                     {Array::kInitial, spec.initial_distribution.size()},
                                                     {Array::kAvailable, spec.available_actions.size()},
                                                     {Array::kColumns, spec.columns.size()},
                                                     {Array::kProbabilities, spec.probabilities.size()}};
          for (const auto& [array, size] : arrays) {
            for (size_t place = 1; place < size; ++place) ExpectSame(whole, BuildCut(spec, {array, place}).value());
          }
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(slices, 0);
  EXPECT_GT(rows, 0) << "both layouts are to be met";
}

TEST(TabularMdpBuilder, BothLayoutsComeFromRegularAndFromRaggedRows) {
  for (const bool ragged : {false, true}) {
    TabularMdpSpec spec;
    spec.num_states = 30;
    spec.num_actions = 2;
    spec.offsets = {0};
    for (uint32_t row = 0; row < 60; ++row) {
      const uint32_t entries = ragged && row % 16 != 0 ? 1 : 15;
      for (uint32_t k = 0; k < entries; ++k) {
        spec.columns.push_back(2 * k);
        spec.probabilities.push_back(1.0 / entries);
      }
      spec.offsets.push_back(spec.columns.size());
    }
    const TabularMdp whole = TabularMdp::Create(spec).value();
    EXPECT_EQ(whole.transitions().layout(), ragged ? ActionRows::Layout::kRows : ActionRows::Layout::kSlices);
    ExpectSpec(spec, whole);
    ExpectSame(whole, BuildCut(spec, {.ones = true}).value());
  }
}

// Also where memory held something else before.
TEST(TabularMdpBuilder, FillsUpSlicesWithNothing) {
  TabularMdpSpec spec;
  spec.num_states = 13;
  spec.num_actions = 2;
  spec.offsets = {0};
  for (uint32_t row = 0; row < 26; ++row) {
    const uint32_t entries = row == 4 ? 4 : 5;
    for (uint32_t k = 0; k < entries; ++k) {
      spec.columns.push_back(2 * k);
      spec.probabilities.push_back(1.0 / entries);
    }
    spec.offsets.push_back(spec.columns.size());
  }
  const uint64_t places = TabularMdp::Create(spec)->transitions().num_places();
  {
    std::vector<AlignedArray<uint32_t>> used;
    for (int k = 0; k < 20; ++k) {
      // As large as values, and as columns.
      AlignedArray<uint32_t>& block = used.emplace_back(places * (1 + k % 2));
      std::fill(block.begin(), block.end(), ~0u);
    }
  }
  const TabularMdp mdp = BuildCut(spec, {.ones = true}).value();
  const ActionRows& rows = mdp.transitions();
  ASSERT_EQ(rows.layout(), ActionRows::Layout::kSlices);
  std::vector<bool> filling(rows.num_places(), true);
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t, uint64_t place) { filling[place] = false; });
  }
  EXPECT_EQ(std::count(filling.begin(), filling.end(), true), 1 + 3 * 2 * 5);
  for (uint64_t place = 0; place < rows.num_places(); ++place) {
    EXPECT_LT(rows.column(place), 13u);
    if (filling[place]) {
      EXPECT_EQ(rows.value(place), 0);
    }
  }
}

TEST(TabularMdpBuilder, TakesAWorldThatEndsAtOnce) {
  TabularMdpSpec spec;
  spec.num_states = 3;
  spec.num_actions = 1;
  spec.offsets = {0, 0, 0, 0};
  spec.termination_probability = Vector::Ones(3);
  const TabularMdp mdp = BuildCut(spec, {}).value();
  EXPECT_EQ(mdp.num_entries(), 0u);
  EXPECT_EQ(mdp.max_row_sum(), 0);
  spec.termination_probability[1] = 0.5;
  EXPECT_THAT(std::string(BuildCut(spec, {}).status().message()), HasSubstr("row 1 (s=1, a=0) sums to 0"));
}

TEST(TabularMdpBuilder, SaysWhatCreateSaysWhereverItIsCut) {
  const std::pair<const char*, void (*)(TabularMdpSpec&)> cases[] = {
      {"starts at 1", [](TabularMdpSpec& m) { m.offsets[0] = 1; }},
      {"falls from 3 to 2", [](TabularMdpSpec& m) { m.offsets[1] = 3; }},
      {"ends at 5; must end at the number of entries, 4", [](TabularMdpSpec& m) { m.offsets[4] = 5; }},
      {"row 2 (s=1, a=0) has column 2; must be below", [](TabularMdpSpec& m) { m.columns[2] = 2; }},
      {"row 0 (s=0, a=0) has column 0 after 1; must be strictly increasing",
       [](TabularMdpSpec& m) {
         m.offsets = {0, 2, 2, 3, 4};
         m.columns = {1, 0, 0, 1};
       }},
      {"row 3 (s=1, a=1) sums to 0.98", [](TabularMdpSpec& m) { m.probabilities[3] = 0.98; }},
      {"row 0 (s=0, a=0) has probability -0.5 at column 0", [](TabularMdpSpec& m) { m.probabilities[0] = -0.5; }},
      {"termination_probability: row 0 (s=0, a=0) is -1",
       [](TabularMdpSpec& m) { m.termination_probability = Vector::Constant(4, -1); }},
      {"no available action in state 1",
       [](TabularMdpSpec& m) {
         m.available_actions = {1, 1, 0, 0};
       }},
      {"(s=1, a=0) is 2",
       [](TabularMdpSpec& m) {
         m.available_actions = {1, 1, 2, 0};
       }},
      {"sums to 1.2", [](TabularMdpSpec& m) { m.initial_distribution = Vector::Constant(2, 0.6); }},
  };
  for (const auto& [message, spoil] : cases) {
    TabularMdpSpec spec = Switch();
    spoil(spec);
    const absl::Status whole = TabularMdp::Create(spec).status();
    EXPECT_THAT(std::string(whole.message()), HasSubstr(message));
    EXPECT_EQ(BuildCut(spec, {.ones = true}).status(), whole);
  }
}

TEST(TabularMdpBuilder, UnavailableRowsMayHoldAnything) {
  TabularMdpSpec spec = Switch();
  spec.available_actions = {1, 0, 1, 1};
  spec.probabilities[1] = std::numeric_limits<double>::quiet_NaN();
  spec.termination_probability = Vector::Zero(4);
  spec.termination_probability[1] = 17;
  const TabularMdp mdp = BuildCut(spec, {.ones = true}).value();
  EXPECT_EQ(mdp.Probabilities(), (std::vector<double>{1, 0, 1, 1}));
}

}  // namespace
}  // namespace bilevel::testing
