// One token per byte, and two control tokens: enough text for tests of the engine.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cascade {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kStart = 256;  // "<s>"
  static constexpr int32_t kEnd = 257;    // "<e>"
  static constexpr int32_t kVocabulary = 258;

  explicit ByteTokenizer(bool with_start = false) {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = std::string(1, static_cast<char>(i));
    if (with_start) start_ids_ = {kStart};
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    if (text.find('\xff') != std::string_view::npos) return absl::InvalidArgumentError("not UTF-8");
    std::vector<int32_t> ids;
    for (size_t i = 0; i < text.size(); ++i) {
      const int32_t control = parse_special ? FindControl(text.substr(i, 3)) : -1;
      ids.push_back(control >= 0 ? control : static_cast<unsigned char>(text[i]));
      if (control >= 0) i += 2;
    }
    return ids;
  }
  std::string_view TokenBytes(int32_t id) const override {
    return id < 256 ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
  }
  int32_t vocabulary_size() const override { return kVocabulary; }
  bool IsControl(int32_t id) const override { return id >= 256; }
  std::string_view TokenText(int32_t id) const override {
    return id == kStart ? "<s>" : id == kEnd ? "<e>" : TokenBytes(id);
  }
  int32_t bos_id() const override { return kStart; }
  int32_t eos_id() const override { return kEnd; }
  int32_t unknown_id() const override { return -1; }
  bool adds_space() const override { return false; }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }
  const std::vector<int32_t>& start_ids() const override { return start_ids_; }
  int32_t FindControl(std::string_view text) const override {
    return text == "<s>" ? kStart : text == "<e>" ? kEnd : -1;
  }

 private:
  std::array<std::string, 256> bytes_;
  std::vector<int32_t> start_ids_;
  std::vector<int32_t> end_ids_{kEnd};
};

}  // namespace cascade
