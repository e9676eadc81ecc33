#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cascade {

// Text to token ids and back. Immutable after creation; any thread may call. Time is linear in the text (a piece
// between split points costs n log n).
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // INVALID_ARGUMENT for text that is not UTF-8. Control tokens in the text become ids only with `parse_special`.
  // Adds no BOS.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const = 0;
  // The bytes of one token; may be a part of a character. Control tokens: empty. id in [0, vocabulary_size()).
  virtual std::string_view TokenBytes(int32_t id) const = 0;

  virtual int32_t vocabulary_size() const = 0;
  virtual bool IsControl(int32_t id) const = 0;  // <|im_end|> and the like
  // Ids that end a reply (EOS, end of turn); may be empty.
  virtual const std::vector<int32_t>& end_ids() const = 0;
  // What every session begins with: {BOS} where the model wants one, else empty.
  virtual const std::vector<int32_t>& start_ids() const = 0;
  // The id of a control token by its text, or -1.
  virtual int32_t FindControl(std::string_view text) const = 0;
};

// All bytes of the ids, control tokens left out, what is no UTF-8 replaced by U+FFFD.
std::string DecodeText(const Tokenizer& tokenizer, const std::vector<int32_t>& ids);

}  // namespace cascade
