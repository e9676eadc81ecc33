#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace cascade {

enum class TokenType : uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// A tokenizer's data as model files carry it; not checked yet.
struct Vocabulary {
  std::string model;          // "gpt2": byte-level BPE
  std::string pre_tokenizer;  // "gpt2", "smollm", ..
  std::vector<std::string> tokens;
  std::vector<TokenType> types;     // as many as tokens, or none (all normal)
  std::vector<std::string> merges;  // "left right", best first
  int32_t bos_id = -1;              // -1: none
  int32_t eos_id = -1;
  int32_t eot_id = -1;  // end of turn, where it is not EOS
  bool add_bos = false;
};

// INVALID_ARGUMENT names what is missing or wrong (`tokenizer.ggml.merges[17]: ..`); UNIMPLEMENTED names a tokenizer or
// pre-tokenizer that is not known.
absl::StatusOr<std::unique_ptr<Tokenizer>> CreateTokenizer(Vocabulary vocabulary);

}  // namespace cascade
