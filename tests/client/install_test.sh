#!/usr/bin/env bash
# install_test.sh BUILD_FOLDER: what `cmake --install` installs is enough for another project's find_package(bilevel).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cmake --install "$1" --prefix "$folder/prefix" >/dev/null
test -x "$folder/prefix/bin/bilevel" -a -x "$folder/prefix/bin/bilevel_server"
mkdir "$folder/consumer"
cat >"$folder/consumer/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
find_package(bilevel REQUIRED)
add_executable(consumer main.cc)
target_link_libraries(consumer PRIVATE bilevel::client)
CMAKE
cat >"$folder/consumer/main.cc" <<'CXX'
#include <iostream>

#include "bilevel/v1/solver_service.pb.h"
#include "client/array.h"
#include "client/bilevel_client.h"

int main() {
  auto client = bilevel::client::BilevelClient::Connect("127.0.0.1:1");
  bilevel::v1::EvaluateHypergradientRequest request;
  *request.mutable_parameters() = bilevel::client::MakeArray(std::vector<double>{0.0});
  std::cout << client.ok() << " " << bilevel::client::ToVector(request.parameters())->size() << "\n";
}
CXX
cmake -S "$folder/consumer" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/prefix" >/dev/null
cmake --build "$folder/build" >/dev/null
test "$("$folder/build/consumer")" = "1 1"
