// The variables of a scope while it runs.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

// Scopes are few and small: names are found by a linear search over interned pointers.
struct Frame {
  std::shared_ptr<Frame> parent;
  std::vector<std::pair<Name, Value>> variables;

  // Null when neither this frame nor one around it has it.
  const Value* Find(Name name) const {
    for (const Frame* frame = this; frame != nullptr; frame = frame->parent.get()) {
      for (const auto& [known, value] : frame->variables) {
        if (known == name) return &value;
      }
    }
    return nullptr;
  }

  void Set(Name name, Value value) {
    for (auto& [known, old] : variables) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    variables.emplace_back(name, std::move(value));
  }
};

}  // namespace cascade::jinja
