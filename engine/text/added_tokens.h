#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/text/special_tokens.h"
#include "engine/text/vocabulary.h"

namespace cascade {

// Unicode's White_Space.
bool IsWhiteSpace(char32_t character);

// Cuts text at tokens that are found as they are. Of several the leftmost wins, of several at one place the longest.
// Immutable after the last Add; any thread may call.
class AddedTokens {
 public:
  // `text` must not be empty or there already.
  void Add(std::string_view text, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  bool Has(std::string_view text) const { return tokens_.Find(text) >= 0; }

  // Calls `part` with what lies between tokens (never empty) and its place in `text`, and `token` with their ids, in
  // order. White space that a token takes is in neither. Ends with the first error of `part`. `text` is valid UTF-8.
  absl::Status Split(std::string_view text, const std::function<absl::Status(std::string_view, size_t)>& part,
                     const std::function<void(int32_t)>& token) const;

 private:
  struct Strip {
    bool left = false;
    bool right = false;
  };

  SpecialTokens tokens_;
  absl::flat_hash_map<int32_t, Strip> strip_;  // by id; only tokens that take white space
};

}  // namespace cascade
