// Rules of null, booleans, numbers, strings, and of values that a schema lists.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/grammar/schema_compiler.h"

namespace cascade::grammar {

void SchemaCompiler::WriteValues(const Constraints& constraints, uint32_t start) {
  // Values that begin alike share their states, so that an enum of thousands stays quick to follow.
  absl::flat_hash_map<std::pair<uint32_t, char>, uint32_t> next;
  bool any = false;
  for (const Json* value : *constraints.values) {
    if ((TypeOf(*value) & constraints.types) == 0) continue;
    any = true;
    if (value->is_structured()) {
      WriteValue(*value, start, kEnd);
      continue;
    }
    const std::string text = value->is_string()
                                 ? absl::StrCat("\"", CanonicalText(value->get_ref<const std::string&>()), "\"")
                                 : value->dump();
    uint32_t state = start;
    for (const char byte : text) {
      const auto [known, added] = next.try_emplace({state, byte}, 0);
      if (added) {
        known->second = builder_.AddState();
        builder_.AddEdge(state, byte, known->second);
      }
      state = known->second;
      if (builder_.full()) return;
    }
    builder_.AddJump(state, kEnd);
  }
  if (!any) Note("none of the values has the type");
}

// The recursion is as deep as the document, which was checked.
void SchemaCompiler::WriteValue(const Json& value, uint32_t from, uint32_t target) {
  if (!value.is_structured()) {
    const std::string text =
        value.is_string() ? absl::StrCat("\"", CanonicalText(value.get_ref<const std::string&>()), "\"") : value.dump();
    bytes_.AddText(from, text, target);
    return;
  }
  const bool object = value.is_object();
  uint32_t state = builder_.AddState();
  builder_.AddEdge(from, object ? '{' : '[', state);
  bool first = true;
  for (const auto& item : value.items()) {
    if (builder_.full()) return;
    if (!first) state = Spaced(state, ',');
    first = false;
    if (object) {
      const uint32_t named = builder_.AddState();
      bytes_.AddText(state, absl::StrCat("\"", CanonicalText(item.key()), "\""), named);
      state = Spaced(named, ':');
    }
    const uint32_t after = builder_.AddState();
    WriteValue(item.value(), state, after);
    state = after;
  }
  builder_.AddEdge(state, object ? '}' : ']', target);
}

void SchemaCompiler::WriteNumber(const Constraints& constraints, uint32_t start) {
  const bool fractions = (constraints.types & kFraction) != 0;
  if (!constraints.bounds.empty()) {
    const uint32_t number = builder_.AddState();
    builder_.AddJump(start, number);
    fractions ? AddBoundedNumber(&builder_, number, constraints.bounds, kEnd)
              : AddBoundedInteger(&builder_, number, constraints.bounds, kEnd);
    Note(fractions ? "no number of at most 15 digits is within its bounds"
                   : "no integer of at most 18 digits is within its bounds");
    return;
  }
  uint32_t& shared = fractions ? plain_number_ : plain_integer_;
  if (shared == 0) {
    shared = builder_.AddState();
    fractions ? AddNumber(&builder_, shared, kEnd) : AddInteger(&builder_, shared, kEnd);
  }
  builder_.AddJump(start, shared);
}

uint32_t SchemaCompiler::PlainString() {
  if (plain_string_ == 0) {
    plain_string_ = builder_.AddState();
    plain_string_rest_ = builder_.AddState();
    builder_.AddEdge(plain_string_, '"', plain_string_rest_);
    builder_.AddEdge(plain_string_rest_, '"', kEnd);
    bytes_.AddCharacter(plain_string_rest_, plain_string_rest_);
  }
  return plain_string_;
}

absl::Status SchemaCompiler::WriteString(const Constraints& constraints, uint32_t start) {
  const int64_t min = constraints.min_length;
  const std::optional<int64_t> max = constraints.max_length;
  if (max && min > *max) return Note("minLength is more than maxLength"), absl::OkStatus();
  if (!constraints.patterns.empty()) {
    const auto& [place, text] = constraints.patterns.front();
    auto known = patterns_.find(text);
    if (known == patterns_.end()) {
      known = patterns_.emplace(text, CompilePattern(text, &document_.pattern_steps_left)).first;
    }
    if (!known->second.ok()) return place.Error(std::string(known->second.status().message()));
    Note("no text has its pattern and length");
    WritePattern(*known->second, constraints, start);
    return absl::OkStatus();
  }
  const uint32_t plain = PlainString();
  if (min == 0 && !max) {
    builder_.AddJump(start, plain);
    return absl::OkStatus();
  }
  if (character_ == 0) {
    character_ = builder_.AddState();
    bytes_.AddCharacter(character_, kEnd);
  }
  uint32_t state = builder_.AddState();
  builder_.AddEdge(start, '"', state);
  for (int64_t length = 0; !builder_.full(); ++length) {
    if (length >= min && !max) {
      builder_.AddJump(state, plain_string_rest_);
      break;
    }
    if (length >= min) builder_.AddEdge(state, '"', kEnd);
    if (max && length == *max) break;
    const uint32_t next = builder_.AddState();
    builder_.AddCall(state, character_, next);
    state = next;
  }
  return absl::OkStatus();
}

void SchemaCompiler::WritePattern(const Pattern& pattern, const Constraints& constraints, uint32_t start) {
  const int64_t min = constraints.min_length;
  const std::optional<int64_t> max = constraints.max_length;
  // A state for each state of the pattern and each length that still matters.
  using Place = std::pair<uint32_t, int64_t>;
  absl::flat_hash_map<Place, uint32_t> states;
  std::vector<Place> todo;
  const auto state_of = [&](const Place& place) {
    const auto [known, added] = states.try_emplace(place, 0);
    if (added) {
      known->second = builder_.AddState();
      todo.push_back(place);
    }
    return known->second;
  };
  builder_.AddEdge(start, '"', state_of({0, 0}));
  while (!todo.empty() && !builder_.full()) {
    const Place place = todo.back();
    todo.pop_back();
    const auto [at, length] = place;
    const uint32_t state = states[place];
    if (pattern.states[at].accepts && length >= min) builder_.AddEdge(state, '"', kEnd);
    if (max && length == *max) continue;
    const int64_t longer = max ? length + 1 : std::min(length + 1, min);
    std::vector<std::pair<uint32_t, CharacterSet>> sets;  // by where they lead
    for (const auto& [range, next] : pattern.states[at].next) {
      const auto same =
          std::find_if(sets.begin(), sets.end(), [&, next = next](const auto& set) { return set.first == next; });
      same == sets.end() ? sets.push_back({next, {range}}) : same->second.push_back(range);
    }
    for (const auto& [next, set] : sets) bytes_.AddCanonical(state, set, state_of({next, longer}));
  }
}

}  // namespace cascade::grammar
