#include "engine/grammar/schema_compiler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade::grammar {
namespace {

constexpr int kMaxAlternatives = 256;  // of one rule
constexpr int kMaxChoices = 32;        // within each other

bool IsFalse(const SchemaPlace& place) { return *place.json == false; }

// What any value satisfies.
bool IsTrivial(const SchemaPlace& place) {
  return *place.json == true || (place.json->is_object() && place.json->empty());
}

}  // namespace

SchemaCompiler::SchemaCompiler(const GrammarLimits& limits) : limits_(limits), builder_(limits.max_states) {
  document_.work_left = limits.max_work;
  document_.pattern_steps_left = limits.max_pattern_steps;
}

absl::StatusOr<CompiledSchema> SchemaCompiler::Compile(std::string_view schema) {
  auto parsed = ParseSchema(schema, limits_.max_schema_bytes);
  if (!parsed.ok()) return parsed.status();
  document_.json = *std::move(parsed);
  const SchemaPlace root = {&document_.json, ""};
  if (!root.json->is_object() && !root.json->is_boolean()) return root.Error("expected an object");
  if (IsFalse(root)) return root.Error("nothing satisfies false");
  const uint32_t start = RuleOf({root});
  for (size_t rule = 0; rule < rules_.size(); ++rule) {
    current_ = rule;
    alternatives_ = 0;
    const SchemaPlace place = rules_[rule].places.empty() ? root : rules_[rule].places.front();
    if (absl::Status status = WriteRule(rule); !status.ok()) return status;
    if (builder_.full()) {
      return place.Error(
          absl::StrCat("the schema needs more than ", limits_.max_states,
                       " states; what counts is the sum of its minLength, maxLength, minItems, maxItems, "
                       "patterns, names and values"));
    }
  }
  CompiledSchema compiled = {Automaton(builder_, start), has_open_objects_};
  if (absl::Status status = CheckSatisfiable(compiled.automaton); !status.ok()) return status;
  return compiled;
}

uint32_t SchemaCompiler::RuleOf(Places places) {
  std::erase_if(places, IsTrivial);
  std::vector<const Json*> key;
  for (const SchemaPlace& place : places) key.push_back(place.json);
  std::sort(key.begin(), key.end());
  key.erase(std::unique(key.begin(), key.end()), key.end());
  const auto [known, added] = starts_.try_emplace(std::move(key), 0);
  if (added) {
    known->second = builder_.AddState();
    rules_.push_back({std::move(places), known->second, ""});
  }
  return known->second;
}

absl::Status SchemaCompiler::WriteRule(size_t rule) {
  const Places places = rules_[rule].places;  // a copy: rules are added
  const uint32_t start = rules_[rule].start;
  if (places.size() == 1) {
    const std::string keyword = LoneKeyword(*places[0].json);
    if (!keyword.empty()) return WriteLone(keyword, places[0], start);
  }
  Constraints constraints;
  for (const SchemaPlace& place : places) {
    if (absl::Status status = AddSchema(&document_, place, &constraints); !status.ok()) return status;
  }
  return WriteChoices(std::move(constraints), start, 0);
}

absl::Status SchemaCompiler::WriteLone(const std::string& keyword, const SchemaPlace& place, uint32_t start) {
  if (keyword == "$ref") {
    auto target = ResolveReference(document_.json, place);
    if (!target.ok()) return target.status();
    if (IsFalse(*target)) return Note("it refers to false"), absl::OkStatus();
    if (!target->json->is_object() && !target->json->is_boolean()) {
      return target->Error("expected a schema: an object, true or false");
    }
    builder_.AddJump(start, RuleOf({*std::move(target)}));
    return absl::OkStatus();
  }
  Constraints constraints;  // only to have the form checked
  if (absl::Status status = AddSchema(&document_, place, &constraints); !status.ok()) return status;
  const Constraints::Choice& choice = constraints.choices.front();
  const SchemaPlace& branches = choice.branches;
  if (absl::Status status = CheckBranches(choice); !status.ok()) return status;
  for (size_t i = 0; i < branches.json->size(); ++i) {
    if (SchemaPlace branch = branches.Child(i); !IsFalse(branch)) builder_.AddJump(start, RuleOf({std::move(branch)}));
  }
  return absl::OkStatus();
}

absl::Status SchemaCompiler::CheckBranches(const Constraints::Choice& choice) {
  if (!choice.is_one_of) return absl::OkStatus();
  const auto [known, added] = checked_.try_emplace(choice.branches.json, absl::OkStatus());
  if (added) known->second = CheckDisjoint(&document_, choice.branches);
  return known->second;
}

// The depth is counted: a branch can have choices of its own.
absl::Status SchemaCompiler::WriteChoices(Constraints constraints, uint32_t start, int depth) {
  if (constraints.choices.empty()) return WriteAlternative(constraints, start);
  if (absl::Status status = CheckBranches(constraints.choices.back()); !status.ok()) return status;
  const SchemaPlace choice = std::move(constraints.choices.back().branches);
  constraints.choices.pop_back();
  if (depth >= kMaxChoices) return choice.Error(absl::StrCat("more than ", kMaxChoices, " choices within each other"));
  int64_t size = 1;
  for (const Constraints::Members& members : constraints.members)
    size += static_cast<int64_t>(members.properties.size());
  for (size_t i = 0; i < choice.json->size(); ++i) {
    if (!document_.Spend(size)) return choice.Error("there are too many ways to combine it with what is beside it");
    Constraints with_branch = constraints;
    if (absl::Status status = AddSchema(&document_, choice.Child(i), &with_branch); !status.ok()) return status;
    if (absl::Status status = WriteChoices(std::move(with_branch), start, depth + 1); !status.ok()) return status;
    if (alternatives_ > kMaxAlternatives) {
      return choice.Error(absl::StrCat("more than ", kMaxAlternatives, " ways to combine it with what is beside it"));
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaCompiler::WriteAlternative(const Constraints& constraints, uint32_t start) {
  ++alternatives_;
  const uint8_t types = constraints.types;
  if (types == 0) return Note("its types exclude each other"), absl::OkStatus();
  if (constraints.values) {
    if (!constraints.OnlyValues()) {
      const Places& places = rules_[current_].places;
      return (places.empty() ? SchemaPlace{&document_.json, ""} : places.front())
          .Error("beside enum or const only type is supported");
    }
    WriteValues(constraints, start);
    return absl::OkStatus();
  }
  if (types & kNull) bytes_.AddText(start, "null", kEnd);
  if (types & kBoolean) {
    bytes_.AddText(start, "true", kEnd);
    bytes_.AddText(start, "false", kEnd);
  }
  if (types & kInteger) WriteNumber(constraints, start);
  if (types & kArray) WriteArray(constraints, start);
  if (types & kObject) WriteObject(constraints, start);
  return types & kString ? WriteString(constraints, start) : absl::OkStatus();
}

absl::Status SchemaCompiler::CheckSatisfiable(const Automaton& automaton) const {
  ByteSet all;
  all.set();
  const std::vector<uint8_t> need = automaton.DepthToEnd(all, limits_.max_reply_depth - 1);
  const auto fails = [&](const Rule& rule) { return need[rule.start] == Automaton::kNever; };
  if (std::none_of(rules_.begin(), rules_.end(), fails)) return absl::OkStatus();
  const auto error = [&](const Rule& rule, const std::string& what) {
    const SchemaPlace root = {&document_.json, ""};
    return (rule.places.empty() ? root : rule.places.front()).Error(what);
  };
  // The cause is a rule that has no end of its own; else a rule that needs itself.
  std::vector<bool> is_rule(automaton.size(), false);
  for (const Rule& rule : rules_) is_rule[rule.start] = true;
  for (const uint32_t shared : {character_, plain_string_, plain_integer_, plain_number_}) {
    if (shared != 0) is_rule[shared] = true;
  }
  const std::vector<bool> ends = automaton.EndsIfRulesDo(is_rule);
  for (const Rule& rule : rules_) {
    if (!ends[rule.start]) {
      return error(rule,
                   rule.note.empty() ? "nothing satisfies it" : absl::StrCat("nothing satisfies it: ", rule.note));
    }
  }
  const std::vector<uint8_t> deep = automaton.DepthToEnd(all, Automaton::kNever - 1);
  for (const Rule& rule : rules_) {
    if (deep[rule.start] == Automaton::kNever) {
      return error(rule, "nothing satisfies it: every value of it would hold another one without end");
    }
  }
  return error(
      *std::find_if(rules_.begin(), rules_.end(), fails),
      absl::StrCat("its values have more than ", limits_.max_reply_depth, " objects and arrays within each other"));
}

}  // namespace cascade::grammar
