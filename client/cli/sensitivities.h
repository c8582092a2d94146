// Sensitivities of an optimum on the terminal.

#ifndef BILEVEL_CLIENT_CLI_SENSITIVITIES_H_
#define BILEVEL_CLIENT_CLI_SENSITIVITIES_H_

#include <ostream>
#include <string>

#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

// A table of d phi*/dp and |dx*/dp|; numbers to which the optimum does not answer are left out.
void PrintSensitivities(const v1::Sensitivities& sensitivities, std::ostream& out);

// The same as a JSON object {"contexts[0].temperature": {"objective": .., "parameters": [..]}, ...}.
std::string SensitivitiesJson(const v1::Sensitivities& sensitivities);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SENSITIVITIES_H_
