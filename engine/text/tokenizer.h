#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cascade {

// Where a text stands, for tokenizers that put a space before text (SpacePrefix).
enum class TextStart : uint8_t {
  kText,          // nothing is before it, or only what the tokenizer does not see as text (start_ids)
  kAfterControl,  // after a control token of the same text: a space with SpacePrefix::kAlways only
  kInside,        // goes on with a text whose ids are there already: never a space
};

// Text to token ids and back. Immutable after creation; any thread may call. Time is linear in the text (a piece
// between split points costs n log n).
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // INVALID_ARGUMENT for text that is not UTF-8. Control tokens in the text become ids only with `parse_special`.
  // Adds no BOS.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const = 0;
  // The same for a text that is a part of a longer one. Encode is EncodeAt(kText); a tokenizer that adds no space does
  // not look at `start`, others override it.
  virtual absl::StatusOr<std::vector<int32_t>> EncodeAt(TextStart /*start*/, std::string_view text,
                                                        bool parse_special) const {
    return Encode(text, parse_special);
  }
  // The bytes of one token; may be a part of a character. Control tokens: empty. id in [0, vocabulary_size()).
  virtual std::string_view TokenBytes(int32_t id) const = 0;

  virtual int32_t vocabulary_size() const = 0;
  virtual bool IsControl(int32_t id) const = 0;  // <|im_end|> and the like
  // A token as its file spells it, control tokens too ("<|im_end|>"); "" for an id without a token.
  virtual std::string_view TokenText(int32_t id) const = 0;
  // -1: none.
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;
  virtual int32_t unknown_id() const = 0;
  // Encode puts a space before a text, which DecodeText takes away again.
  virtual bool adds_space() const = 0;
  // Ids that end a reply (EOS, end of turn); may be empty.
  virtual const std::vector<int32_t>& end_ids() const = 0;
  // What every session begins with: {BOS} where the model wants one, else empty.
  virtual const std::vector<int32_t>& start_ids() const = 0;
  // The id of a control token by its text, or -1.
  virtual int32_t FindControl(std::string_view text) const = 0;
};

// All bytes of the ids as a text of its own, control tokens left out, what is no UTF-8 replaced by U+FFFD.
std::string DecodeText(const Tokenizer& tokenizer, const std::vector<int32_t>& ids);

}  // namespace cascade
