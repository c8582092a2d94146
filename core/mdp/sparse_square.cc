#include "core/mdp/sparse_square.h"

#include <algorithm>
#include <limits>

namespace bilevel {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

}  // namespace

SparseSquare Store(const SystemRows& rows) {
  SparseSquare A;
  A.offsets.reserve(static_cast<size_t>(rows.size()) + 1);
  A.offsets.push_back(0);
  const uint64_t most = rows.matrix.num_entries() + static_cast<uint64_t>(rows.size());
  A.columns.reserve(most);
  A.values.reserve(most);
  for (int64_t s = 0; s < rows.size(); ++s) {
    rows.ForEachInRow(s, [&](uint32_t column, double value) {
      A.columns.push_back(column);
      A.values.push_back(value);
    });
    A.offsets.push_back(A.columns.size());
  }
  return A;
}

int64_t JoinPairs(const SparseSquare& A, std::vector<uint32_t>& group) {
  const int64_t S = A.size();
  group.assign(static_cast<size_t>(S), kNone);
  int64_t count = 0;
  for (int64_t s = 0; s < S; ++s) {
    if (group[static_cast<size_t>(s)] != kNone) continue;
    uint32_t partner = kNone;
    double strongest = 0;
    for (uint64_t k = A.offsets[static_cast<size_t>(s)]; k < A.offsets[static_cast<size_t>(s) + 1]; ++k) {
      const uint32_t s2 = A.columns[k];
      if (s2 == s || group[s2] != kNone || -A.values[k] <= strongest) continue;
      partner = s2;
      strongest = -A.values[k];
    }
    group[static_cast<size_t>(s)] = static_cast<uint32_t>(count);
    if (partner != kNone) group[partner] = static_cast<uint32_t>(count);
    ++count;
  }
  return count;
}

SparseSquare Condense(const SparseSquare& A, const std::vector<uint32_t>& group, int64_t num_groups) {
  // States by group.
  std::vector<uint64_t> begin(static_cast<size_t>(num_groups) + 1, 0);
  for (const uint32_t g : group) ++begin[g + size_t{1}];
  for (size_t g = 0; g < static_cast<size_t>(num_groups); ++g) begin[g + 1] += begin[g];
  std::vector<uint32_t> members(group.size());
  {
    std::vector<uint64_t> next(begin.begin(), begin.end() - 1);
    for (size_t s = 0; s < group.size(); ++s) members[next[group[s]]++] = static_cast<uint32_t>(s);
  }
  SparseSquare result;
  result.columns.reserve(A.columns.size());
  result.values.reserve(A.columns.size());
  result.offsets.reserve(static_cast<size_t>(num_groups) + 1);
  result.offsets.push_back(0);
  std::vector<uint64_t> place(static_cast<size_t>(num_groups), std::numeric_limits<uint64_t>::max());
  std::vector<std::pair<uint32_t, double>> row;
  for (size_t g = 0; g < static_cast<size_t>(num_groups); ++g) {
    row.clear();
    for (uint64_t m = begin[g]; m < begin[g + 1]; ++m) {
      const uint32_t s = members[m];
      for (uint64_t k = A.offsets[s]; k < A.offsets[s + size_t{1}]; ++k) {
        const uint32_t to = group[A.columns[k]];
        if (place[to] >= row.size() || row[place[to]].first != to) {
          place[to] = row.size();
          row.emplace_back(to, 0.0);
        }
        row[place[to]].second += A.values[k];
      }
    }
    std::sort(row.begin(), row.end());
    for (const auto& [column, value] : row) {
      result.columns.push_back(column);
      result.values.push_back(value);
    }
    result.offsets.push_back(result.columns.size());
  }
  result.columns.shrink_to_fit();
  result.values.shrink_to_fit();
  return result;
}

}  // namespace bilevel
