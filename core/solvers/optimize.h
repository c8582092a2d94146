// All outer methods behind one call.

#ifndef BILEVEL_CORE_SOLVERS_OPTIMIZE_H_
#define BILEVEL_CORE_SOLVERS_OPTIMIZE_H_

#include <string_view>
#include <variant>
#include <vector>

#include "core/solvers/m_sobirl.h"
#include "core/solvers/portfolio.h"
#include "core/solvers/projected_gradient.h"
#include "core/solvers/quasi_newton.h"
#include "core/solvers/truncated_newton.h"

namespace bilevel {

using MethodOptions = std::variant<MSobirlOptions, ProjectedGradientOptions, QuasiNewtonOptions, PortfolioOptions,
                                   TruncatedNewtonOptions>;

struct MethodDescription {
  std::string_view name;         // as on the wire
  std::string_view description;  // one sentence
  std::string_view source;
  std::string_view guarantee;
};

// In the order of the alternatives of MethodOptions.
const std::vector<MethodDescription>& DescribeMethods();

// Name of the method that the options belong to.
std::string_view MethodName(const MethodOptions& method);

// Validates method and options (field errors relative to the method's and the options' own fields), then runs.
absl::StatusOr<OuterResult> Optimize(const BilevelProblem& problem, const Vector& x, const MethodOptions& method,
                                     const OuterOptions& options, const Interrupt& interrupt,
                                     ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_OPTIMIZE_H_
