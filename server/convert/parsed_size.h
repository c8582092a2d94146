// What a serialised message will hold of memory once it is parsed, from its tags and lengths alone.
//
// Numbers and raw arrays stay about as large as they are, but an empty message inside a list has 2 bytes on the wire
// and hundreds in memory: so whoever takes messages of gigabytes looks first.

#ifndef BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_
#define BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_

#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/message.h>

#include <functional>
#include <limits>
#include <optional>

namespace bilevel::server {

// When to look no further.
struct ScanLimits {
  double most = std::numeric_limits<double>::infinity();   // bytes in memory
  std::function<bool()> abandoned = [] { return false; };  // asked every few thousand fields
};

// An upper bound in bytes, by a small factor, of a message of the type of `prototype`; nothing where tags make
// none. What is cut short counts as far as it goes; parsing refuses it. Beyond `limits`, what was counted until then.
// Cost: less than parsing, for contents are skipped: some 30 ns for each field that is no number of a packed list.
std::optional<double> ParsedBytes(const google::protobuf::Message& prototype,
                                  google::protobuf::io::ZeroCopyInputStream* bytes, const ScanLimits& limits = {});

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_
