#include "engine/text/jinja/builtin.h"

#include <string>

namespace cascade::jinja {

const Builtin* FindBuiltin(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

Value CallBuiltin(Runtime& runtime, const Builtin& builtin, const Value& self, const Arguments& arguments) {
  if (builtin.run_any != nullptr) return builtin.run_any(runtime, self, arguments);
  const std::string name(builtin.name);
  Bound bound = {};
  size_t count = 0;
  while (count < kMaxParameters && !builtin.parameters[count].empty()) ++count;
  if (arguments.positional.size() > count) {
    return runtime.Fail(name + " takes at most " + std::to_string(count) + " arguments, not " +
                        std::to_string(arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [keyword, value] : arguments.keywords) {
    size_t i = 0;
    while (i < count && builtin.parameters[i] != keyword) ++i;
    if (i == count || builtin.positional_only) {
      return runtime.Fail(name + " takes no keyword argument '" + std::string(keyword) + "'");
    }
    if (bound[i] != nullptr) return runtime.Fail(name + " gets '" + std::string(keyword) + "' twice");
    bound[i] = &value;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (bound[i] == nullptr) return runtime.Fail(name + " needs '" + std::string(builtin.parameters[i]) + "'");
  }
  return builtin.run(runtime, self, bound);
}

int64_t IntegerArgument(Runtime& runtime, const Value* argument, int64_t otherwise) {
  if (argument == nullptr) return otherwise;
  if (const int64_t* integer = argument->If<int64_t>()) return *integer;
  if (const bool* flag = argument->If<bool>()) return *flag ? 1 : 0;
  runtime.Fail("an argument must be an integer, not " + std::string(TypeName(*argument)));
  return otherwise;
}

bool FlagArgument(const Value* argument, bool otherwise) { return argument == nullptr ? otherwise : IsTrue(*argument); }

}  // namespace cascade::jinja
