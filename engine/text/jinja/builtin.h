// Filters, tests, methods and global functions: their names, parameters and code.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/jinja_value.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {

// As written in a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> keywords;
};

// In the order of a builtin's parameters; null where the call gives none.
inline constexpr size_t kMaxParameters = 5;
using Bound = std::array<const Value*, kMaxParameters>;

// `run` gets the value that a filter, test or method is applied to (undefined for a function) and the arguments.
struct Builtin {
  std::string_view name;
  size_t required = 0;                                           // the first so many parameters have no default
  std::array<std::string_view, kMaxParameters> parameters = {};  // "" behind the last
  Value (*run)(Runtime& runtime, const Value& self, const Bound& arguments) = nullptr;
  // In place of `run`, for those that take any number of arguments.
  Value (*run_any)(Runtime& runtime, const Value& self, const Arguments& arguments) = nullptr;
  bool positional_only = false;  // as Python's methods written in C
};

// Fails when the arguments do not fit the parameters.
Value CallBuiltin(Runtime& runtime, const Builtin& builtin, const Value& self, const Arguments& arguments);
// Null when there is none of the name.
const Builtin* FindBuiltin(std::span<const Builtin> table, std::string_view name);

// Null when we have none.
const Builtin* FindFilter(std::string_view name);
const Builtin* FindTest(std::string_view name);
const Builtin* FindFunction(std::string_view name);
// Whether any kind of value has a method `name` that we can call, or that the sandbox refuses to call.
bool IsMethodName(std::string_view name);

// An argument as an integer, `otherwise` when absent; fails when it is none.
int64_t IntegerArgument(Runtime& runtime, const Value* argument, int64_t otherwise);
bool FlagArgument(const Value* argument, bool otherwise);

}  // namespace cascade::jinja
