#include <cmath>
#include <iostream>

#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/report.h"
#include "client/cli/requests.h"

namespace bilevel::client {
namespace {

JsonObject GradientJson(const v1::ContextGradient& gradient) {
  const v1::Array& reward = gradient.reward();
  const int actions = reward.shape_size() == 2 ? reward.shape(1) : 0;
  JsonObject object;
  object.AddValue("reward", JsonRows(Elements(reward), actions))
      .Add("reward_error_bound", gradient.reward_error_bound())
      .Add("reward_error_estimate", gradient.reward_error_estimate())
      .Add("discount", gradient.discount())
      .Add("discount_error_bound", gradient.discount_error_bound())
      .Add("temperature", gradient.temperature())
      .Add("temperature_error_bound", gradient.temperature_error_bound())
      .Add("adjoint_backward_error", gradient.adjoint_backward_error());
  if (gradient.has_transitions()) {
    object.Add("transitions", Elements(gradient.transitions()))
        .Add("transitions_error_bound", gradient.transitions_error_bound());
  }
  return object;
}

void PrintJson(const v1::PullbackResponse& response) {
  std::vector<std::string> contexts;
  for (const v1::LowerLevelSolution& solution : response.contexts())
    contexts.push_back(LowerLevelJson(solution).Text());
  std::vector<std::string> gradients;
  for (const v1::ContextGradient& gradient : response.gradients()) gradients.push_back(GradientJson(gradient).Text());
  JsonObject object;
  AddTermination(response.termination(), object)
      .AddValue("gradients", JsonList(gradients))
      .AddValue("contexts", JsonList(contexts));
  std::cout << AddRun(response.run_info(), object).Pretty();
}

double Norm(const v1::Array& array) {
  double sum = 0.0;
  for (const double entry : Elements(array)) sum += entry * entry;
  return std::sqrt(sum);
}

void PrintGradient(const v1::LowerLevelSolution& solution, const v1::ContextGradient& gradient) {
  const auto line = [](const char* name, double value, double bound) {
    PrintLine(name, absl::StrFormat("%-14s error <= %.2g", Short(value), bound), std::cout);
  };
  PrintLine("context", solution.label(), std::cout);
  line("d/d discount", gradient.discount(), gradient.discount_error_bound());
  line("d/d temperature", gradient.temperature(), gradient.temperature_error_bound());
  line("|d/d reward|", Norm(gradient.reward()), gradient.reward_error_bound());
  if (gradient.has_transitions()) {
    line("|d/d transitions|", Norm(gradient.transitions()), gradient.transitions_error_bound());
  }
  std::cout << "\n";
}

}  // namespace

int RunPullback(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  std::string cotangents_file;
  bool transitions = false;
  FlagSet flags(
      "pullback FILE --cotangents FILE",
      "Gradients of sum(cotangent * output) with respect to reward, discount, temperature and, on request, stored\n"
      "transition probabilities, in each context of the problem in FILE. Without cotangents: the forward pass.");
  flags.Add("cotangents", &cotangents_file, "FILE", "JSON list of {policy, q, value}, one for each context");
  flags.Add("transitions", &transitions, "also d/d transition probabilities");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  v1::PullbackRequest request;
  if (!cotangents_file.empty()) {
    absl::StatusOr<v1::PullbackRequest> cotangents = ReadCotangents(cotangents_file);
    if (!cotangents.ok()) return UsageError(cotangents.status());
    request.mutable_cotangents()->Swap(cotangents->mutable_cotangents());
  }
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  request.set_return_transition_gradient(transitions);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::PullbackResponse> response = client->Pullback(request);
  if (!response.ok()) return Fail(response.status());
  if (request_flags.validate_only) return PrintEstimate(response->estimate(), globals.json);
  if (globals.json) {
    PrintJson(*response);
  } else {
    for (int c = 0; c < std::min(response->contexts_size(), response->gradients_size()); ++c) {
      PrintGradient(response->contexts(c), response->gradients(c));
    }
    PrintTermination(response->termination(), std::cout);
  }
  return ExitCodeOf(response->termination());
}

}  // namespace bilevel::client
