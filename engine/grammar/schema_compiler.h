// A JSON schema to an automaton over the bytes of the documents that it accepts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/byte_sequences.h"
#include "engine/grammar/constraints.h"
#include "engine/grammar/grammar_limits.h"
#include "engine/grammar/pattern.h"
#include "engine/grammar/schema_document.h"

namespace cascade::grammar {

struct CompiledSchema {
  Automaton automaton;
  // Objects of a reply can have keys that the schema does not list: the automaton does not know that none comes twice.
  bool has_open_objects = false;
};

// One rule for every set of schemas that must hold together of one value, written one after the other, so that nesting
// and recursion of the schema are none of this code. For one schema; one thread.
class SchemaCompiler {
 public:
  explicit SchemaCompiler(const GrammarLimits& limits);

  // INVALID_ARGUMENT names the place: what is not supported, what nothing satisfies, what is too large.
  absl::StatusOr<CompiledSchema> Compile(std::string_view schema);

 private:
  using Places = std::vector<SchemaPlace>;  // schemas that hold together

  struct Rule {
    Places places;
    uint32_t start = 0;
    std::string note;  // why there may be nothing that satisfies it
  };

  // Where the rule begins; it is written later.
  uint32_t RuleOf(Places places);
  absl::Status WriteRule(size_t rule);
  absl::Status WriteLone(const std::string& keyword, const SchemaPlace& place, uint32_t start);
  // One alternative for every way to choose a branch from each of the choices.
  absl::Status WriteChoices(Constraints constraints, uint32_t start, int depth);
  absl::Status WriteAlternative(const Constraints& constraints, uint32_t start);
  absl::Status CheckBranches(const Constraints::Choice& choice);
  absl::Status CheckSatisfiable(const Automaton& automaton) const;

  // scalar_rules.cc
  void WriteValues(const Constraints& constraints, uint32_t start);
  void WriteValue(const Json& value, uint32_t from, uint32_t target);
  void WriteNumber(const Constraints& constraints, uint32_t start);
  absl::Status WriteString(const Constraints& constraints, uint32_t start);
  void WritePattern(const Pattern& pattern, const Constraints& constraints, uint32_t start);
  uint32_t PlainString();

  // structure_rules.cc
  void WriteArray(const Constraints& constraints, uint32_t start);
  void WriteObject(const Constraints& constraints, uint32_t start);
  // From an opening quote to behind the closing one: any key but these.
  void WriteOtherKey(const std::vector<std::string>& names, uint32_t from, uint32_t target);
  // From behind `before`, with or without a space.
  uint32_t Spaced(uint32_t from, char before);

  void Note(std::string what) { rules_[current_].note = std::move(what); }

  GrammarLimits limits_;
  SchemaDocument document_;
  AutomatonBuilder builder_;
  ByteSequences bytes_{&builder_};
  std::vector<Rule> rules_;
  std::map<std::vector<const Json*>, uint32_t> starts_;
  std::map<const Json*, absl::Status> checked_;  // oneOf: whether its branches are apart
  absl::flat_hash_map<std::string, absl::StatusOr<Pattern>> patterns_;
  size_t current_ = 0;      // the rule that is being written
  int alternatives_ = 0;    // of that rule
  uint32_t character_ = 0;  // rules that all share; 0: not written yet
  uint32_t plain_string_ = 0, plain_string_rest_ = 0;
  uint32_t plain_integer_ = 0, plain_number_ = 0;
  bool has_open_objects_ = false;
};

}  // namespace cascade::grammar
