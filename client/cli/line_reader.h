// Lines of a text file, read in large pieces.

#ifndef BILEVEL_CLIENT_CLI_LINE_READER_H_
#define BILEVEL_CLIENT_CLI_LINE_READER_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "client/cli/input_file.h"

namespace bilevel::client {

class LineReader {
 public:
  // The file must outlive it.
  explicit LineReader(const InputFile& file) : file_(file) {}

  // The next line without its end, valid until the next call; false at the end of the file, and at a line of more than
  // 1 MiB, or a file that cannot be read, which `failed` tells apart.
  bool Next(std::string_view& line);
  bool failed() const { return failed_; }

  // Of the last line, from 1 on.
  std::uint64_t number() const { return number_; }
  // Bytes behind the last line.
  std::uint64_t left() const { return file_.size() - read_ + (buffer_.size() - at_); }

  void Rewind();

 private:
  bool Fill();

  const InputFile& file_;
  std::string buffer_;
  std::size_t at_ = 0;      // in the buffer
  std::uint64_t read_ = 0;  // of the file
  std::uint64_t number_ = 0;
  bool failed_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_LINE_READER_H_
