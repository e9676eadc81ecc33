// Ids are bytes, and no id ends a reply: turns are as long as they were asked to be, whatever the model says.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cascade::bench {

class LetterTokenizer final : public Tokenizer {
 public:
  LetterTokenizer() {
    // Text of replies is not looked at; letters are valid UTF-8 in any order.
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = std::string(1, static_cast<char>('a' + i % 26));
  }
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    return std::vector<int32_t>(text.begin(), text.end());
  }
  std::string_view TokenBytes(int32_t id) const override { return bytes_[static_cast<size_t>(id)]; }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(bytes_.size()); }
  bool IsControl(int32_t id) const override { return false; }
  std::string_view TokenText(int32_t id) const override { return TokenBytes(id); }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return -1; }
  int32_t unknown_id() const override { return -1; }
  bool adds_space() const override { return false; }
  const std::vector<int32_t>& end_ids() const override { return none_; }
  const std::vector<int32_t>& start_ids() const override { return none_; }
  int32_t FindControl(std::string_view text) const override { return -1; }

 private:
  std::array<std::string, 256> bytes_;
  const std::vector<int32_t> none_;
};

}  // namespace cascade::bench
