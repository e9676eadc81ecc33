// Random schemas of the subset of docs/clients.md, and random documents that fit one.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace cascade {

class SchemaMaker {
 public:
  using Json = nlohmann::ordered_json;

  explicit SchemaMaker(uint64_t seed) : random_(seed) {}

  Json Schema();
  // A document that fits `schema`, which this made: in the order of its properties, no space but single ones behind ,
  // and
  // :, strings in canonical form.
  std::string Document(const Json& schema);

  size_t Below(size_t count) { return random_() % count; }
  bool Chance(int percent) { return random_() % 100 < static_cast<uint64_t>(percent); }

 private:
  Json Any(int depth);
  Json String();
  Json Number(bool integer);
  Json Array(int depth);
  Json Object(int depth, const std::string& prefix = "");
  Json Choice(int depth);

  Json Value(const Json& schema, int depth);
  Json ObjectValue(const Json& schema, int depth);
  Json FreeValue(int depth);
  std::string Text(size_t min, size_t max);
  void Write(const Json& value, std::string* text);

  std::mt19937_64 random_;
  Json root_;
};

}  // namespace cascade
