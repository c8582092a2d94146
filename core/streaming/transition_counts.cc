#include "core/streaming/transition_counts.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

namespace bilevel {
namespace {

// One bit for each of eight integers that equals `value`. Without branches: successors come in no order that could be
// predicted.
uint32_t MatchesOf(const int32_t* integers, int32_t value) {
  using Four = int32_t __attribute__((vector_size(16)));
  Four low, high;
  std::memcpy(&low, integers, sizeof low);
  std::memcpy(&high, integers + 4, sizeof high);
  const Four wanted = {value, value, value, value};
  const Four bits = ((low == wanted) & Four{1, 2, 4, 8}) | ((high == wanted) & Four{16, 32, 64, 128});
  return static_cast<uint32_t>(bits[0] | bits[1] | bits[2] | bits[3]);
}

constexpr uint64_t kHashEntry = 2 * sizeof(uint64_t) + 1;

}  // namespace

TransitionCounts::TransitionCounts(int num_states, int64_t num_rows, uint64_t max_distinct)
    : num_states_(num_states),
      num_rows_(num_rows),
      max_distinct_(max_distinct),
      pages_(static_cast<size_t>(num_rows / kPageRows + 1)),
      blocks_(1) {}

uint64_t TransitionCounts::bytes() const {
  uint64_t bytes = pages_.size() * sizeof(pages_[0]) + blocks_.capacity() * sizeof(Block) +
                   (rare_.capacity() + carries_.capacity()) * kHashEntry;
  for (const auto& page : pages_) bytes += page == nullptr ? 0 : sizeof(Page);
  return bytes;
}

uint64_t TransitionCounts::MaxBytes(uint64_t max_distinct, int64_t num_rows) {
  const auto rows = std::min(static_cast<uint64_t>(num_rows), max_distinct);
  const uint64_t pages = std::min<uint64_t>(static_cast<uint64_t>(num_rows) / kPageRows + 1, max_distinct);
  const uint64_t blocks = 2 + rows + max_distinct / kInBlock;
  // Old and new stand side by side while either grows: blocks by doubling, the hash table from 7/8 full to half of
  // that.
  const uint64_t slots = std::bit_ceil(max_distinct / 7 * 8 + 16);
  return static_cast<uint64_t>(num_rows / kPageRows + 1) * sizeof(void*) + pages * sizeof(Page) +
         3 * blocks * sizeof(Block) + 3 * slots * kHashEntry;
}

bool TransitionCounts::AddSuccessor(int64_t row, int column) {
  const std::unique_ptr<Page>& page = pages_[static_cast<size_t>(row / kPageRows)];
  uint32_t at = page == nullptr ? 0 : (*page)[static_cast<size_t>(row % kPageRows)];
  if (at == 0) return AddFirst(row, column);
  for (int i = 1;; ++i) {
    Block& block = blocks_[at];
    const uint32_t used = block.counts[kInBlock];
    const uint32_t matches = MatchesOf(block.columns.data(), column) & ((1u << used) - 1);
    if (matches != 0) {
      if (++block.counts[static_cast<size_t>(std::countr_zero(matches))] == 0) ++carries_[KeyOf(row, column)];
      return true;
    }
    if (used < kInBlock) {
      if (distinct_ == max_distinct_) return false;
      ++distinct_;
      block.columns[used] = column;
      block.counts[used] = 1;
      ++block.counts[kInBlock];
      return true;
    }
    const auto next = static_cast<uint32_t>(block.columns[kInBlock]);
    if (next == 0 && i < kMaxBlocks) {
      if (distinct_ == max_distinct_) return false;
      const uint32_t fresh = NewBlock(column);
      blocks_[at].columns[kInBlock] = static_cast<int32_t>(fresh);
      return true;
    }
    if (next == 0) return AddRare(KeyOf(row, column));
    at = next;
  }
}

bool TransitionCounts::AddFirst(int64_t row, int column) {
  if (distinct_ == max_distinct_) return false;
  std::unique_ptr<Page>& page = pages_[static_cast<size_t>(row / kPageRows)];
  if (page == nullptr) page = std::make_unique<Page>(Page{});
  (*page)[static_cast<size_t>(row % kPageRows)] = NewBlock(column);
  return true;
}

uint32_t TransitionCounts::NewBlock(int column) {
  ++distinct_;
  Block& block = blocks_.emplace_back();
  block.columns = {column};
  block.counts = {1};
  block.counts[kInBlock] = 1;
  return static_cast<uint32_t>(blocks_.size() - 1);
}

bool TransitionCounts::AddRare(uint64_t key) {
  const auto found = rare_.find(key);
  if (found != rare_.end()) {
    ++found->second;
    return true;
  }
  if (distinct_ == max_distinct_) return false;
  ++distinct_;
  rare_.emplace(key, 1);
  return true;
}

std::vector<TransitionCounts::Entry> TransitionCounts::Sorted() const {
  std::vector<Entry> entries;
  entries.reserve(distinct_);
  for (size_t p = 0; p < pages_.size(); ++p) {
    if (pages_[p] == nullptr) continue;
    for (size_t i = 0; i < kPageRows; ++i) {
      const auto row = static_cast<int64_t>(p * kPageRows + i);
      for (uint32_t at = (*pages_[p])[i]; at != 0; at = static_cast<uint32_t>(blocks_[at].columns[kInBlock])) {
        const Block& block = blocks_[at];
        for (uint32_t j = 0; j < block.counts[kInBlock]; ++j) {
          entries.push_back({row, block.columns[j], block.counts[j]});
        }
      }
    }
  }
  for (const auto& [key, count] : rare_) {
    const auto columns = static_cast<uint64_t>(num_states_) + 1;
    entries.push_back({static_cast<int64_t>(key / columns), static_cast<int>(key % columns), count});
  }
  for (Entry& entry : entries) {
    if (carries_.empty()) break;
    const auto carried = carries_.find(KeyOf(entry.row, entry.column));
    if (carried != carries_.end()) entry.count += carried->second << 32;
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.row, a.column) < std::tie(b.row, b.column); });
  return entries;
}

}  // namespace bilevel
