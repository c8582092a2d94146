#include "absl/strings/str_cat.h"
#include "tests/server/malformed/cases.h"

namespace bilevel::server::malformed {

std::vector<Case> EnvironmentCases() {
  const std::string env = "problem.contexts[0].environment.", p = env + "transitions", sparse = p + ".sparse.";
  return {
      {"no contexts", OfProblem([](auto& m) { m.clear_contexts(); }), kInvalid, "problem.contexts", "empty",
       "at least one"},
      {"no environment", OfContext([](auto& m) { m.clear_environment(); }), kInvalid, "problem.contexts[0].environment",
       "absent", "required"},
      {"no name", OfContext([](auto& m) { m.set_environment_name("rooms"); }), kInvalid,
       "problem.contexts[0].environment_name", "is \"rooms\"", "64 hex digits"},
      {"second context's name", OfProblem([](auto& m) {
         *m.add_contexts() = m.contexts(0);
         m.mutable_contexts(1)->set_environment_name(absl::StrCat("environments/", std::string(64, 'F')));
       }),
       kInvalid, "problem.contexts[1].environment_name", "FFFF", "0-9 and a-f"},
      {"no states", OfEnvironment([](auto& m) { m.set_num_states(0); }), kInvalid, env + "num_states", "is 0", ">= 1"},
      {"negative states", OfEnvironment([](auto& m) { m.set_num_states(-3); }), kInvalid, env + "num_states", "is -3",
       ">= 1"},
      {"no actions", OfEnvironment([](auto& m) { m.set_num_actions(0); }), kInvalid, env + "num_actions", "is 0",
       ">= 1"},
      {"states above the limit", OfEnvironment([](auto& m) { m.set_num_states(2'000'000'000); }), kExhausted, "states",
       "2000000000", "max_states"},
      {"states not those of the arrays", OfEnvironment([](auto& m) { m.set_num_states(1'000'000); }), kInvalid,
       sparse + "rows", "is 4", "must be 2000000"},
      {"overflowing sizes", OfEnvironment([](auto& m) {
         m.set_num_states(9'999'999);
         m.set_num_actions(2'147'483'647);
       }),
       kInvalid, sparse + "rows", "is 4", "must be"},
      {"no transitions", OfEnvironment([](auto& m) { m.clear_transitions(); }), kInvalid, p, "neither", "required"},
      {"columns of the matrix", OfSparse([](auto& m) { m.set_cols(3); }), kInvalid, sparse + "cols", "is 3",
       "must be 2"},
      {"offsets too short", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 1, 4});
       }),
       kInvalid, sparse + "offsets", "has 3", "must have [5]"},
      {"offsets not from zero", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({1, 1, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "starts at 1", "must start at 0"},
      {"offsets fall", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 3, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "falls from 3 to 2", "never decrease"},
      {"offsets beyond the entries", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 1, 2, 3, 5});
       }),
       kInvalid, sparse + "offsets", "ends at 5", "4"},
      {"offsets overflow", OfSparse([](auto& m) {
         *m.mutable_offsets() = MakeArray(std::vector<uint64_t>{0, ~0ull, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "18446744073709551615", "never decrease"},
      {"offsets of a wrong type", OfSparse([](auto& m) { m.mutable_offsets()->set_dtype(v1::DTYPE_F64); }), kInvalid,
       sparse + "offsets.dtype", "DTYPE_F64", "DTYPE_U64 or DTYPE_U32"},
      {"offsets as reals", OfSparse([](auto& m) {
         *m.mutable_offsets() = v1::Array();
         for (int i = 0; i < 5; ++i) m.mutable_offsets()->mutable_values()->add_list(i);
       }),
       kInvalid, sparse + "offsets.values", "is set", "`indices`"},
      {"raw without a type", OfSparse([](auto& m) { m.mutable_values()->clear_dtype(); }), kInvalid,
       sparse + "values.dtype", "DTYPE_UNSPECIFIED", "named types"},
      {"an unknown type", OfSparse([](auto& m) { m.mutable_values()->set_dtype(static_cast<v1::DType>(77)); }),
       kInvalid, sparse + "values.dtype", "is 77", "named types"},
      {"half an element", OfSparse([](auto& m) { m.mutable_values()->mutable_raw()->resize(31); }), kInvalid,
       sparse + "values.raw", "31 bytes", "multiple of 8"},
      {"columns and values differ in number", OfSparse([](auto& m) {
         *m.mutable_columns() = Indices({0, 1, 0});
       }),
       kInvalid, sparse + "columns", "has 3", "must have [4]"},
      {"column out of range", OfSparse([](auto& m) {
         *m.mutable_columns() = Indices({0, 1, 0, 2});
       }),
       kInvalid, sparse + "columns", "column 2", "below num_states = 2"},
      {"column beyond 32 bits", OfSparse([](auto& m) {
         *m.mutable_columns() = MakeArray(std::vector<uint64_t>{0, 1, 0, 1ull << 32});
       }),
       kInvalid, sparse + "columns", "4294967296", "below 2^32"},
      {"column twice", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 2, 2, 3, 4});
         *m.mutable_columns() = Indices({0, 0, 0, 1});
       }),
       kInvalid, sparse + "columns", "column 0 after 0", "strictly increasing"},
      {"row sum off", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, 1, 0.98});
       }),
       kInvalid, p, "row 3 (s=1, a=1) sums to 0.98", "must be 1 +- 1e-09"},
      {"probability negative", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, -0.5, 1});
       }),
       kInvalid, p, "-0.5", "[0, 1]"},
      {"probability not a number", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, kNan, 1, 1});
       }),
       kInvalid, sparse + "values", "entry 1 is nan", "finite"},
      {"probability infinite", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, 1, kInf});
       }),
       kInvalid, sparse + "values", "entry 3 is inf", "finite"},
      {"dense of a wrong shape", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0, 1, 1, 0, 0, 1}, {4, 1, 2, 1});
       }),
       kInvalid, p + ".dense.shape", "ends in 1", "4 rows of 2"},
      {"dense of negative extents", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0, 1, 1, 0, 0, 1}, {-2, -2, 2});
       }),
       kInvalid, p + ".dense.shape", "extent -2", ">= 0"},
      {"dense too short", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0});
       }),
       kInvalid, p + ".dense", "has 3", "4 rows of 2"},
      {"termination out of range", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0, 1.5, 0});
       }),
       kInvalid, env + "termination_probability", "row 2 (s=1, a=0) is 1.5", "[0, 1]"},
      {"termination against the row sum", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0.1, 0, 0});
       }),
       kInvalid, p, "termination_probability 0.1", "must be 1"},
      {"termination of a wrong shape", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0, 0, 0}, {4});
       }),
       kInvalid, env + "termination_probability.shape", "[4]", "[2, 2]"},
      {"no action available", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = Indices({1, 1, 0, 0});
       }),
       kInvalid, env + "available_actions", "state 1", "every state needs one"},
      {"mask of twos", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = Indices({1, 2, 1, 1});
       }),
       kInvalid, env + "available_actions", "entry 1 is 2", "0 or 1"},
      {"mask of a wrong type", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = MakeArray(std::vector<uint32_t>{1, 1, 1, 1});
       }),
       kInvalid, env + "available_actions.dtype", "DTYPE_U32", "DTYPE_U8"},
      {"start sums to less than one", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({0.5, 0.4});
       }),
       kInvalid, env + "initial_distribution", "sums to 0.9", "must sum to 1"},
      {"start negative", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({1.5, -0.5});
       }),
       kInvalid, env + "initial_distribution", "-0.5", ">= 0"},
      {"start too long", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({0.5, 0.5, 0});
       }),
       kInvalid, env + "initial_distribution", "has 3", "must have [2]"},
      {"grid without rows", OfEnvironment([](auto& m) { m.mutable_grid()->set_cols(2); }), kInvalid, env + "grid.rows",
       "is 0", "[1, 10000]"},
      {"grid without cells", OfGrid([](auto& m) { m.clear_cells(); }), kInvalid, env + "grid.cells", "has 0",
       "must have [2]"},
      {"grid cell outside", OfGrid([](auto& m) {
         *m.mutable_cells() = Indices({0, 6});
       }),
       kInvalid, env + "grid.cells", "hold 6", "rows * cols = 6"},
      {"second context's grid", OfProblem([](auto& m) {
         *m.add_contexts() = m.contexts(0);
         m.mutable_contexts(1)->mutable_environment()->mutable_grid()->set_rows(-1);
       }),
       kInvalid, "problem.contexts[1].environment.grid.rows", "is -1", "[1, 10000]"},
      {"grid cell twice", OfGrid([](auto& m) {
         *m.mutable_cells() = Indices({3, 3});
       }),
       kInvalid, env + "grid.cells", "hold 3 twice", "no two states"},
      {"grid moves too short", OfGrid([](auto& m) {
         *m.mutable_moves() = Reals({1, 0});
       }),
       kInvalid, env + "grid.moves", "has 2", "must have [2, 2]"},
      {"grid moves not a number", OfGrid([](auto& m) {
         *m.mutable_moves() = Reals({1, 0, kNan, 0});
       }),
       kInvalid, env + "grid.moves", "entry 2 is nan", "finite"},
  };
}

}  // namespace bilevel::server::malformed
