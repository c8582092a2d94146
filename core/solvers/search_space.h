// Coordinates in which a global search moves: without constraints, and not flat where the leader's parameters saturate.
//
// Parameters fall into segments, each with coordinates z of its own:
//
//   simplex, budget      z = log(share + 1e-5), for a budget with one more for what is left; back by total * softmax(z)
//   finite box           z = logit of the place between the bounds; back by a sigmoid
//   others               z = x, projected onto the feasible set
//
// What a segment's coordinates mean tells how far a move of z goes: logits (of a softmax or a sigmoid) have unit 1,
// numbers that enter as they are have the unit of their own spread.

#ifndef BILEVEL_CORE_SOLVERS_SEARCH_SPACE_H_
#define BILEVEL_CORE_SOLVERS_SEARCH_SPACE_H_

#include <vector>

#include "core/problem/bilevel_problem.h"

namespace bilevel {

class SearchSpace {
 public:
  enum class Scale {
    kShares,   // logits of a softmax: only differences count
    kSwitch,   // logits of sigmoids, arguments of tanh
    kNumbers,  // as they are
  };
  struct Segment {
    Scale scale = Scale::kNumbers;
    Eigen::Index first = 0;  // in z
    Eigen::Index size = 0;   // in z
  };

  // problem must outlive this.
  explicit SearchSpace(const BilevelProblem& problem);

  const std::vector<Segment>& segments() const { return segments_; }

  // z of a feasible x, and a feasible x of any z.
  Vector ToCoordinates(const Vector& x) const;
  Vector ToParameters(const Vector& z) const;

 private:
  enum class Form { kPlain, kSimplex, kBudget, kInterval };
  struct Part {
    Form form;
    Eigen::Index x_first, x_size, z_first, z_size;
    double total = 0;
    const Box* box = nullptr;
  };
  void Add(Form form, Scale scale, Eigen::Index x_first, Eigen::Index x_size, double total = 0,
           const Box* box = nullptr);
  void AddPlain(Eigen::Index first, Eigen::Index size);

  const BilevelProblem& problem_;
  std::vector<Part> parts_;
  std::vector<Segment> segments_;
  Eigen::Index z_size_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_SEARCH_SPACE_H_
