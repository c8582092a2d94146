#include "client/cli/line_reader.h"

#include <algorithm>
#include <span>

namespace bilevel::client {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

bool LineReader::Next(std::string_view& line) {
  std::size_t searched = at_;
  while (true) {
    const std::size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line = std::string_view(buffer_).substr(at_, end - at_);
      at_ = end + 1;
      break;
    }
    if (read_ == file_.size()) {
      if (at_ == buffer_.size()) return false;
      line = std::string_view(buffer_).substr(at_);
      at_ = buffer_.size();
      break;
    }
    searched = buffer_.size() - at_;
    if (searched > kPieceBytes || !Fill()) {
      failed_ = true;
      return false;
    }
  }
  if (line.ends_with('\r')) line.remove_suffix(1);
  ++number_;
  return true;
}

bool LineReader::Fill() {
  buffer_.erase(0, at_);
  at_ = 0;
  const std::size_t kept = buffer_.size();
  const std::size_t count = std::min<std::uint64_t>(kPieceBytes, file_.size() - read_);
  buffer_.resize(kept + count);
  if (!file_.Read(read_, std::span(buffer_).subspan(kept)).ok()) return false;
  read_ += count;
  return true;
}

void LineReader::Rewind() {
  buffer_.clear();
  at_ = 0;
  read_ = 0;
  number_ = 0;
}

}  // namespace bilevel::client
