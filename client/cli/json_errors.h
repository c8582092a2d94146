// What is wrong with a JSON text that protobuf refused, in the words of this service: the place or the field, what
// stands there, and what must.
//
//   line 1, column 58: NaN is no JSON; ...
//   problem.contexts[0].reward.base is a list; must be {"values": {"list": [...]}}, ...
//   problem.contexts[0].temprature is no field; Context has environment, discount, temperature, ...

#ifndef BILEVEL_CLIENT_CLI_JSON_ERRORS_H_
#define BILEVEL_CLIENT_CLI_JSON_ERRORS_H_

#include <google/protobuf/descriptor.h>

#include <string>

namespace bilevel::client {

// protobuf: its message for `json`, which was read as `type`. prefix: of field paths, "problem." or nothing.
std::string ExplainJsonError(const std::string& protobuf, const std::string& json,
                             const google::protobuf::Descriptor& type, const std::string& prefix);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_JSON_ERRORS_H_
