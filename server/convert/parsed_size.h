// What a serialised message will hold of memory once it is parsed, from its tags and lengths alone.
//
// Numbers and raw arrays stay about as large as they are, but an empty message inside a list has 2 bytes on the wire
// and hundreds in memory: so whoever takes messages of gigabytes looks first.

#ifndef BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_
#define BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_

#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/message.h>

#include <optional>

namespace bilevel::server {

// An upper bound in bytes, by a small factor, of a message of the type of `prototype`; nothing where tags make
// none. What is cut short counts as far as it goes; parsing refuses it. Cost: less than parsing, for contents are
// skipped.
std::optional<double> ParsedBytes(const google::protobuf::Message& prototype,
                                  google::protobuf::io::ZeroCopyInputStream* bytes);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_PARSED_SIZE_H_
