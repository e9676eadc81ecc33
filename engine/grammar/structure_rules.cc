// Rules of arrays and objects.
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/grammar/schema_compiler.h"
#include "engine/text/utf8.h"

namespace cascade::grammar {
namespace {

// Adds a schema to those that hold together; false if it lets nothing pass.
bool Join(const std::optional<SchemaPlace>& place, std::vector<SchemaPlace>* places) {
  if (!place) return true;
  if (*place->json == false) return false;
  places->push_back(*place);
  return true;
}

}  // namespace

uint32_t SchemaCompiler::Spaced(uint32_t from, char before) {
  const uint32_t behind = builder_.AddState();
  const uint32_t next = builder_.AddState();
  builder_.AddEdge(from, before, behind);
  builder_.AddEdge(behind, ' ', next);
  builder_.AddJump(behind, next);
  return next;
}

void SchemaCompiler::WriteArray(const Constraints& constraints, uint32_t start) {
  size_t listed = 0;
  for (const Constraints::Items& items : constraints.items) listed = std::max(listed, items.prefix.size());
  // The schemas of item `index`, or nothing if there must be no such item.
  const auto item = [&](size_t index) -> std::optional<Places> {
    Places places;
    for (const Constraints::Items& items : constraints.items) {
      if (!Join(index < items.prefix.size() ? items.prefix[index] : items.rest, &places)) return std::nullopt;
    }
    return places;
  };
  int64_t max = constraints.max_items.value_or(INT64_MAX);
  for (size_t i = 0; i <= listed; ++i) {
    if (!item(i)) max = std::min(max, static_cast<int64_t>(i));
  }
  const int64_t min = constraints.min_items;
  if (min > max) return Note("it must have more items than it may have");

  const uint32_t open = builder_.AddState();
  builder_.AddEdge(start, '[', open);
  if (min == 0) builder_.AddEdge(open, ']', kEnd);
  // `many`: from so many items on, each is like the one before.
  const int64_t many = std::max({static_cast<int64_t>(listed), min, int64_t{1}});
  const uint32_t rest = max > static_cast<int64_t>(listed) ? RuleOf(*item(listed)) : 0;
  uint32_t next = open;  // where the next item begins
  for (int64_t count = 0; count < max && !builder_.full(); ++count) {
    const uint32_t after = builder_.AddState();
    const size_t index = static_cast<size_t>(count);
    builder_.AddCall(next, index < listed ? RuleOf(*item(index)) : rest, after);
    if (count + 1 >= min) builder_.AddEdge(after, ']', kEnd);
    if (count + 1 == max) break;
    next = Spaced(after, ',');
    if (count + 1 < many || max != INT64_MAX) continue;
    builder_.AddCall(next, rest, after);
    break;
  }
}

void SchemaCompiler::WriteObject(const Constraints& constraints, uint32_t start) {
  struct Property {
    std::string name;
    uint32_t value = 0;
    bool required = false;
  };
  std::vector<std::string> names;  // as listed, then those that are only required
  std::vector<absl::flat_hash_map<std::string_view, const SchemaPlace*>> sources;
  absl::flat_hash_map<std::string_view, bool> is_required;  // of every name
  for (const Constraints::Members& members : constraints.members) {
    auto& source = sources.emplace_back();
    for (const auto& [name, place] : members.properties) {
      source.emplace(name, &place);
      if (is_required.emplace(name, false).second) names.push_back(name);
    }
  }
  for (const std::string& name : constraints.required) {
    if (is_required.emplace(name, true).second) names.push_back(name);
    is_required[name] = true;
  }
  Places others;  // of properties that are not listed
  bool open = true;
  for (const Constraints::Members& members : constraints.members) open = Join(members.additional, &others) && open;

  std::vector<Property> properties;
  for (const std::string& name : names) {
    Places places;
    bool allowed = true;
    for (size_t i = 0; i < sources.size(); ++i) {
      const auto found = sources[i].find(name);
      allowed = allowed && Join(found == sources[i].end() ? constraints.members[i].additional
                                                          : std::optional<SchemaPlace>(*found->second),
                                &places);
    }
    if (allowed) {
      properties.push_back({name, RuleOf(std::move(places)), is_required[name]});
    } else if (is_required[name]) {
      return Note("a property is required that must not be there");
    }
  }
  has_open_objects_ = has_open_objects_ || open;

  // fresh: nothing was written yet; after: behind a property, before whatever may follow.
  uint32_t fresh = builder_.AddState();
  uint32_t after = 0;
  builder_.AddEdge(start, '{', fresh);
  for (const Property& property : properties) {
    if (builder_.full()) return;
    const uint32_t key = builder_.AddState();
    const uint32_t named = builder_.AddState();
    const uint32_t done = builder_.AddState();
    bytes_.AddText(key, absl::StrCat("\"", CanonicalText(property.name), "\""), named);
    builder_.AddCall(Spaced(named, ':'), property.value, done);
    if (fresh != 0) builder_.AddJump(fresh, key);
    if (after != 0) builder_.AddJump(Spaced(after, ','), key);
    if (property.required) {
      fresh = 0;
    } else if (after != 0) {
      builder_.AddJump(after, done);
    }
    after = done;
  }
  if (fresh != 0) builder_.AddEdge(fresh, '}', kEnd);
  if (after != 0) builder_.AddEdge(after, '}', kEnd);
  if (!open) return;
  const uint32_t key = builder_.AddState();
  const uint32_t done = builder_.AddState();
  const uint32_t named = builder_.AddState();
  WriteOtherKey(names, key, named);
  builder_.AddEdge(done, '}', kEnd);
  builder_.AddCall(Spaced(named, ':'), RuleOf(std::move(others)), done);
  if (fresh != 0) builder_.AddJump(fresh, key);
  builder_.AddJump(Spaced(done, ','), key);
  if (after != 0) builder_.AddJump(after, done);
}

void SchemaCompiler::WriteOtherKey(const std::vector<std::string>& names, uint32_t from, uint32_t target) {
  // A tree of the names, by characters; whatever leaves it is another key.
  struct Node {
    uint32_t state = 0;
    bool is_name = false;
    std::map<char32_t, size_t> next;
  };
  std::vector<Node> nodes = {{builder_.AddState(), false, {}}};
  builder_.AddEdge(from, '"', nodes[0].state);
  for (const std::string& name : names) {
    size_t at = 0;
    for (size_t i = 0; i < name.size();) {
      const auto [known, added] = nodes[at].next.try_emplace(NextCodePoint(name, &i), nodes.size());
      at = known->second;  // before the nodes move
      if (added) nodes.push_back({builder_.AddState(), false, {}});
      if (builder_.full()) return;
    }
    nodes[at].is_name = true;
  }
  const uint32_t other = builder_.AddState();
  builder_.AddEdge(other, '"', target);
  bytes_.AddCanonical(other, {{0, kLastCodePoint}}, other);
  for (const Node& node : nodes) {
    CharacterSet known;
    for (const auto& [c, next] : node.next) {
      known.push_back({c, c});
      bytes_.AddCanonical(node.state, {{c, c}}, nodes[next].state);
    }
    bytes_.AddCanonical(node.state, Complement(Normalized(known)), other);
    if (!node.is_name) builder_.AddEdge(node.state, '"', target);
  }
}

}  // namespace cascade::grammar
